"""Rate limits and default quotas of API keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from redis.asyncio import Redis

from service.auth.authenticator import Authenticator, RateLimiter
from service.auth.key_store import ApiKeyStore
from service.domain.caller import Caller, CallerQuotas, Scope
from service.errors import QueueUnavailable, RateExceeded
from service.redis_client.client import connect_redis
from service.settings import Settings
from tests.integration.auth.key_requests import UNKNOWN_JOB_URL, bearer_headers, create_token
from tests.integration.redis_access import list_keys
from tests.integration.servers import free_port, running_redis


@pytest.fixture
async def redis_client(settings: Settings) -> AsyncGenerator[Redis]:
    client = connect_redis(settings.redis_url)
    yield client
    await client.aclose()


def make_caller(rate: int | None, owner: str = "first") -> Caller:
    limits = CallerQuotas(requests_per_minute=rate)
    return Caller(owner=owner, name="test key", scopes=frozenset(), limits=limits)


async def test_limited_key_is_served_after_retry_after(
    client: httpx.AsyncClient, key_store: ApiKeyStore
) -> None:
    limited = bearer_headers(
        await create_token(key_store, limits=CallerQuotas(requests_per_minute=20))
    )
    passed = 0
    while (answer := await client.get(UNKNOWN_JOB_URL, headers=limited)).status_code == 404:
        passed += 1
        assert passed < 500
    assert passed >= 20
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_exceeded")
    assert answer.json()["retryable"] is True
    seconds = int(answer.headers["retry-after"])
    assert 1 <= seconds <= 3

    await asyncio.sleep(seconds)  # as Retry-After asks
    assert (await client.get(UNKNOWN_JOB_URL, headers=limited)).status_code == 404
    other = bearer_headers(await create_token(key_store))
    assert (await client.get(UNKNOWN_JOB_URL, headers=other)).status_code == 404


async def test_gateways_share_one_limit_and_refusals_do_not_count(
    settings: Settings, redis_client: Redis
) -> None:
    here, there = RateLimiter(redis_client, settings), RateLimiter(redis_client, settings)
    for rates in (here, there, here):
        await rates.acquire(make_caller(3))
    waits: list[float] = []
    for rates in (here, there, here):
        with pytest.raises(RateExceeded) as refused:
            await rates.acquire(make_caller(3))
        assert refused.value.retry_seconds is not None
        waits.append(refused.value.retry_seconds)
    assert sorted(waits, reverse=True) == waits
    assert 0 < waits[0] <= 20
    await here.acquire(make_caller(3, owner="second"))
    for _ in range(5):
        await here.acquire(make_caller(None))


async def test_rate_limit_wait_is_bounded_after_clock_changes(
    settings: Settings, redis_client: Redis
) -> None:
    rates = RateLimiter(redis_client, settings)
    await rates.acquire(make_caller(1))
    prefix = f"{settings.queue_name}:access:rate:"
    [bucket] = await list_keys(redis_client, prefix)
    await redis_client.set(bucket, str(4e9))
    with pytest.raises(RateExceeded) as refused:
        await rates.acquire(make_caller(1))
    assert refused.value.retry_seconds == pytest.approx(60, abs=1)


async def test_key_limits_override_the_service_defaults(
    settings: Settings, key_store: ApiKeyStore
) -> None:
    update = {"key_requests_per_minute": 7, "key_open_jobs": 2, "key_upload_bytes": 9}
    plain = await create_token(key_store)
    own = await create_token(
        key_store, limits=CallerQuotas(requests_per_minute=100, stored_bytes=5)
    )
    async with Authenticator.open(settings.model_copy(update=update)) as authenticator:
        assert (await authenticator.identify(plain.text)).limits == CallerQuotas(
            requests_per_minute=7, open_jobs=2, stored_jobs=50_000, upload_bytes=9
        )
        assert (await authenticator.identify(own.text)).limits == CallerQuotas(
            requests_per_minute=100,
            open_jobs=2,
            stored_jobs=50_000,
            stored_bytes=5,
            upload_bytes=9,
        )


async def test_full_redis_still_allows_reads(
    settings: Settings, key_store: ApiKeyStore, tmp_path: Path
) -> None:
    with running_redis(tmp_path) as server:
        other_settings = settings.model_copy(update={"redis_url": server.url})
        async with (
            ApiKeyStore.open(other_settings) as keys,
            Authenticator.open(other_settings) as authenticator,
        ):
            token = await create_token(keys)
            with server.client() as client:
                cast(Any, client).config_set("maxmemory", 1)
            caller = await authenticator.identify(token.text)
            await authenticator.authorize(caller, Scope.READ)
    assert caller.owner == token.key_id


async def test_requests_are_refused_while_redis_is_unavailable(
    settings: Settings, key_store: ApiKeyStore
) -> None:
    token = await create_token(key_store, Scope.ADMIN)
    unreachable = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}"})
    async with Authenticator.open(unreachable) as authenticator:
        with pytest.raises(QueueUnavailable):
            await authenticator.identify(token.text)
        with pytest.raises(QueueUnavailable):
            await authenticator.authorize(make_caller(1), Scope.READ)
