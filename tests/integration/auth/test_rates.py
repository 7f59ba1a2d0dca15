"""How often a key may ask, and what it may do at most."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest
import redis
from redis.asyncio import Redis

from service.auth.authenticator import Authenticator
from service.auth.key_store import ApiKeyStore
from service.auth.rate_limiter import RateLimiter
from service.domain.caller import Caller, CallerQuotas, Scope
from service.errors import QueueUnavailable, RateExceeded
from service.redis_client.client import connect_redis
from service.settings import Settings
from tests.integration.auth.key_requests import UNKNOWN_JOB_URL, bearer_headers, create_token
from tests.integration.servers import free_port, running_redis


@pytest.fixture
async def redis_client(settings: Settings) -> AsyncGenerator[Redis]:
    client = connect_redis(settings.redis_url)
    yield client
    await client.aclose()


def make_caller(rate: int | None, owner: str = "somebody") -> Caller:
    limits = CallerQuotas(requests_per_minute=rate)
    return Caller(owner=owner, name="somebody", scopes=frozenset(), limits=limits)


async def test_a_limited_key_gets_retry_after_and_is_then_served(
    client: httpx.AsyncClient, key_store: ApiKeyStore
) -> None:
    held = bearer_headers(
        await create_token(key_store, limits=CallerQuotas(requests_per_minute=20))
    )
    passed = 0
    while (answer := await client.get(UNKNOWN_JOB_URL, headers=held)).status_code == 404:
        passed += 1
        assert passed < 500
    assert passed >= 20
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_exceeded")
    assert answer.json()["retryable"] is True
    seconds = int(answer.headers["retry-after"])
    assert 1 <= seconds <= 3

    await asyncio.sleep(seconds)
    assert (await client.get(UNKNOWN_JOB_URL, headers=held)).status_code == 404
    other = bearer_headers(await create_token(key_store))
    assert (await client.get(UNKNOWN_JOB_URL, headers=other)).status_code == 404


async def test_gateways_share_one_limit_and_refusals_are_free(
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
    await here.acquire(make_caller(3, owner="somebody else"))
    for _ in range(5):
        await here.acquire(make_caller(None))


async def test_a_rate_limit_wait_is_bounded_after_clock_changes(
    settings: Settings, redis_client: Redis
) -> None:
    rates = RateLimiter(redis_client, settings)
    await rates.acquire(make_caller(1))
    [bucket] = await redis_client.keys(f"{settings.queue_name}:access:rate:*")
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
    async with Authenticator.open(settings.model_copy(update=update)) as gate:
        assert (await gate.identify(plain.text)).limits == CallerQuotas(
            requests_per_minute=7, open_jobs=2, upload_bytes=9
        )
        assert (await gate.identify(own.text)).limits == CallerQuotas(
            requests_per_minute=100, open_jobs=2, stored_bytes=5, upload_bytes=9
        )


async def test_a_full_redis_still_allows_reads(
    settings: Settings, key_store: ApiKeyStore, tmp_path: Path
) -> None:
    with running_redis(tmp_path) as server:
        moved = settings.model_copy(update={"redis_url": server.url})
        async with ApiKeyStore.open(moved) as ring, Authenticator.open(moved) as gate:
            token = await create_token(ring)
            with redis.Redis.from_url(server.url) as client:
                client.config_set("maxmemory", 1)
            caller = await gate.identify(token.text)
            await gate.authorize(caller, Scope.READ)
    assert caller.owner == token.key_id


async def test_requests_are_refused_while_redis_is_unavailable(
    settings: Settings, key_store: ApiKeyStore
) -> None:
    token = await create_token(key_store, Scope.ADMIN)
    nowhere = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}"})
    async with Authenticator.open(nowhere) as gate:
        with pytest.raises(QueueUnavailable):
            await gate.identify(token.text)
        with pytest.raises(QueueUnavailable):
            await gate.authorize(make_caller(1), Scope.READ)
