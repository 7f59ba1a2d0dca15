"""What becomes of us when Redis is away, full, read-only or still loading; on every version."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from service.errors import QueueUnavailable
from service.jobs.queue.job_queue import JobQueue
from service.jobs.queue.maintenance import QueueMaintenance
from service.jobs.record import JobRecord, new_job_id
from service.redis_client.client import (
    CONNECT_TIMEOUT_SECONDS,
    RESPONSE_TIMEOUT_SECONDS,
    connect_redis,
)
from service.settings import Settings
from tests.integration.job_environment import eventually
from tests.integration.redis_list import push_value
from tests.integration.servers import REDIS_VERSIONS, RedisServer, running_redis

MAX_FAILURE_SECONDS = RESPONSE_TIMEOUT_SECONDS + CONNECT_TIMEOUT_SECONDS + 5.0
"""What a busy machine may add is generous: without a bound it would be minutes."""


@pytest.fixture(params=REDIS_VERSIONS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own: it is killed, filled and turned into a replica."""
    with running_redis(tmp_path, request.param) as server:
        yield server


async def wait_until_usable(client: Redis) -> None:
    async def look() -> bool | None:
        try:
            await push_value(client, "again")
        except QueueUnavailable:
            return None
        return True

    await eventually(look, 20.0)


async def test_a_stopped_redis_fails_fast_and_is_reconnected(
    server: RedisServer,
) -> None:
    async with connect_redis(server.url) as client:
        await push_value(client, "before")
        await asyncio.to_thread(server.stop)
        started = time.monotonic()
        with pytest.raises(QueueUnavailable, match="Connection refused") as caught:
            await push_value(client, "during")
        assert time.monotonic() - started < MAX_FAILURE_SECONDS
        assert caught.value.retryable
        await asyncio.to_thread(server.start)
        await wait_until_usable(client)


async def test_a_frozen_redis_times_out(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        async with connect_redis(server.url) as client:
            await _freeze_and_add(client, server)


async def _freeze_and_add(client: Redis, server: RedisServer) -> None:
    await push_value(client, "before")
    with server.frozen():
        started = time.monotonic()
        with pytest.raises(QueueUnavailable):
            await push_value(client, "during")
        assert time.monotonic() - started < MAX_FAILURE_SECONDS
    await wait_until_usable(client)


async def _limit_memory(client: Redis) -> None:
    await client.config_set("maxmemory", "1")


async def _unlimit_memory(client: Redis) -> None:
    await client.config_set("maxmemory", "0")


async def _make_a_replica(client: Redis) -> None:
    await client.execute_command("REPLICAOF", "127.0.0.1", "1")


async def _make_a_master(client: Redis) -> None:
    await client.execute_command("REPLICAOF", "NO", "ONE")


async def _require_replicas(client: Redis) -> None:
    await client.config_set("min-replicas-to-write", 1)


async def _require_no_replicas(client: Redis) -> None:
    await client.config_set("min-replicas-to-write", 0)


@pytest.mark.parametrize(
    ("spoil", "mend", "reason"),
    [
        (_limit_memory, _unlimit_memory, "memory is full"),
        (_make_a_replica, _make_a_master, "takes no writes"),
        (_require_replicas, _require_no_replicas, "too few replicas"),
    ],
)
async def test_refused_writes_are_explained_and_recover(
    server: RedisServer, spoil: Callable, mend: Callable, reason: str
) -> None:
    async with connect_redis(server.url) as client, connect_redis(server.url) as other:
        await push_value(client, "before")
        await spoil(other)
        with pytest.raises(QueueUnavailable, match=reason):
            await push_value(client, "during")
        await mend(other)
        await push_value(client, "after")
        assert await client.lrange("list", 0, -1) == ["before", "after"]


async def test_a_loading_redis_is_waited_for(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        async with connect_redis(server.url) as client:
            await _restart_while_loading(client, server)


async def _restart_while_loading(client: Redis, server: RedisServer) -> None:
    await client.set("ready", "yes")
    async with client.pipeline(transaction=False) as pipeline:
        for number in range(9_000):
            pipeline.rpush("list", str(number))
        await pipeline.execute()
    await asyncio.to_thread(server.kill)
    starting = asyncio.create_task(asyncio.to_thread(server.start, "--key-load-delay", "500"))
    reasons: set[str] = set()

    async def look() -> bool | None:
        try:
            await push_value(client, "after")
        except QueueUnavailable as error:
            reasons.add(error.detail)
            return None
        return True

    await eventually(look, 60.0)
    await starting
    assert any("loading" in reason for reason in reasons), reasons
    assert await client.llen("list") == 9_001


async def test_an_invalid_command_is_not_an_outage(server: RedisServer) -> None:
    async with connect_redis(server.url) as client:
        await client.set("list", "no list")
        with pytest.raises(ResponseError):
            await push_value(client, "value")


async def test_kill_9_of_redis_loses_no_job_that_was_accepted(server: RedisServer) -> None:
    accepted: list[str] = []

    async def submit(desk: JobQueue) -> None:
        while True:
            record = JobRecord(
                id=new_job_id(), media_type="video/mp4", clip_bytes=1, trace_id="0" * 32
            )
            accepted.append((await desk.submit(record)).record.id)

    settings = Settings(redis_url=server.url, max_queued_jobs=1_000_000)
    async with JobQueue.open(settings) as desk, QueueMaintenance.open(settings) as upkeep:
        for _ in range(3):
            streams = [asyncio.create_task(submit(desk)) for _ in range(8)]
            await eventually(partial(_has_reached, accepted, len(accepted) + 300), 30.0)
            await asyncio.to_thread(server.kill)
            await asyncio.wait(streams, timeout=MAX_FAILURE_SECONDS)
            assert {QueueUnavailable} == {type(each.exception()) for each in streams}
            await asyncio.to_thread(server.start)
            assert set(await upkeep.find_records(accepted)) == set(accepted)
        # of each stream's last submission only the answer may have been lost
        assert len(accepted) <= (await desk.measure_backlog()).depth <= len(accepted) + 3 * 8


async def _has_reached(acknowledged: list[str], goal: int) -> bool | None:
    return len(acknowledged) >= goal or None


async def test_the_older_version_s_data_is_read_by_the_newer(tmp_path: Path) -> None:
    with running_redis(tmp_path, "6.2") as older:
        async with connect_redis(older.url) as client:
            await push_value(client, "kept")
    with running_redis(tmp_path, "7.4") as newer:
        async with connect_redis(newer.url) as client:
            assert await client.lrange("list", 0, -1) == ["kept"]
