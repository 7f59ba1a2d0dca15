"""How often a key may ask, and what it may do at most."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest
import redis
from redis.asyncio import Redis

from service.access.gate import Gate
from service.access.keyring import KeyRing
from service.access.rates import Rates
from service.domain.caller import Caller, Limits, Scope
from service.errors import QueueUnavailable, RateExceeded
from service.jobs.connection import connect
from service.settings import Settings
from tests.integration.access.asking import UNKNOWN, bearing, token_for
from tests.integration.servers import free_port, running_redis


@pytest.fixture
async def connection(settings: Settings) -> AsyncGenerator[Redis]:
    client = connect(settings.redis_url)
    yield client
    await client.aclose()


def caller_with(rate: int | None, owner: str = "somebody") -> Caller:
    limits = Limits(requests_per_minute=rate)
    return Caller(owner=owner, name="somebody", scopes=frozenset(), limits=limits)


async def test_who_asks_too_often_is_told_when_to_come_back_and_then_let_in(
    client: httpx.AsyncClient, keys: KeyRing
) -> None:
    held = bearing(await token_for(keys, limits=Limits(requests_per_minute=20)))
    passed = 0
    while (answer := await client.get(UNKNOWN, headers=held)).status_code == 404:
        passed += 1
        assert passed < 500
    assert passed >= 20
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_exceeded")
    assert answer.json()["retryable"] is True
    seconds = int(answer.headers["retry-after"])
    assert 1 <= seconds <= 3

    await asyncio.sleep(seconds)
    assert (await client.get(UNKNOWN, headers=held)).status_code == 404
    other = bearing(await token_for(keys))
    assert (await client.get(UNKNOWN, headers=other)).status_code == 404


async def test_all_gateways_count_together_and_refusals_cost_nothing(
    settings: Settings, connection: Redis
) -> None:
    here, there = Rates(connection, settings), Rates(connection, settings)
    for rates in (here, there, here):
        await rates.take(caller_with(3))
    waits: list[float] = []
    for rates in (here, there, here):
        with pytest.raises(RateExceeded) as refused:
            await rates.take(caller_with(3))
        assert refused.value.retry_seconds is not None
        waits.append(refused.value.retry_seconds)
    assert sorted(waits, reverse=True) == waits
    assert 0 < waits[0] <= 20
    await here.take(caller_with(3, owner="somebody else"))
    for _ in range(5):
        await here.take(caller_with(None))


async def test_a_bucket_that_was_filled_in_another_time_is_never_waited_for_longer_than_its_size(
    settings: Settings, connection: Redis
) -> None:
    rates = Rates(connection, settings)
    await rates.take(caller_with(1))
    [bucket] = await connection.keys(f"{settings.queue_name}:access:rate:*")
    await connection.set(bucket, str(4e9))
    with pytest.raises(RateExceeded) as refused:
        await rates.take(caller_with(1))
    assert refused.value.retry_seconds == pytest.approx(60, abs=1)


async def test_a_key_without_limits_has_those_of_the_service_and_its_own_come_first(
    settings: Settings, keys: KeyRing
) -> None:
    update = {"key_requests_per_minute": 7, "key_open_jobs": 2, "key_upload_bytes": 9}
    plain = await token_for(keys)
    own = await token_for(keys, limits=Limits(requests_per_minute=100, stored_bytes=5))
    async with Gate.open(settings.model_copy(update=update)) as gate:
        assert (await gate.identify(plain.text)).limits == Limits(
            requests_per_minute=7, open_jobs=2, upload_bytes=9
        )
        assert (await gate.identify(own.text)).limits == Limits(
            requests_per_minute=100, open_jobs=2, stored_bytes=5, upload_bytes=9
        )


async def test_a_full_redis_keeps_no_key_from_reading(
    settings: Settings, keys: KeyRing, tmp_path: Path
) -> None:
    with running_redis(tmp_path) as server:
        moved = settings.model_copy(update={"redis_url": server.url})
        async with KeyRing.open(moved) as ring, Gate.open(moved) as gate:
            token = await token_for(ring)
            with redis.Redis.from_url(server.url) as client:
                client.config_set("maxmemory", 1)
            caller = await gate.identify(token.text)
            await gate.admit(caller, Scope.READ)
    assert caller.owner == token.key_id


async def test_nobody_is_let_in_while_redis_is_away(settings: Settings, keys: KeyRing) -> None:
    token = await token_for(keys, Scope.ADMIN)
    nowhere = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}"})
    async with Gate.open(nowhere) as gate:
        with pytest.raises(QueueUnavailable):
            await gate.identify(token.text)
        with pytest.raises(QueueUnavailable):
            await gate.admit(caller_with(1), Scope.READ)
