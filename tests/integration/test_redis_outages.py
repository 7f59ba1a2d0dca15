"""Tests of Redis that is stopped, frozen, full, read-only or loading, on every version."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from redis.exceptions import ResponseError

from service.errors import QueueUnavailable
from service.jobs.queue.database import QueueMaintenance
from service.jobs.queue.job_queue import JobQueue
from service.jobs.record import JobRecord, new_job_id
from service.redis_client.client import (
    CONNECT_TIMEOUT_SECONDS,
    RESPONSE_TIMEOUT_SECONDS,
    Redis,
    connect_redis,
)
from service.settings import Settings
from tests.integration.job_environment import eventually, until
from tests.integration.redis_access import list_values, push_value, run_command
from tests.integration.servers import REDIS_VERSIONS, RedisServer, running_redis

MAX_FAILURE_SECONDS = RESPONSE_TIMEOUT_SECONDS + CONNECT_TIMEOUT_SECONDS + 5.0
"""Includes a generous margin for a busy machine; without timeouts it would be minutes."""


@pytest.fixture(params=REDIS_VERSIONS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of this test alone, to be killed, filled and made a replica."""
    with running_redis(tmp_path, request.param) as server:
        yield server


async def wait_until_usable(client: Redis) -> None:
    async def poll() -> bool | None:
        try:
            await push_value(client, "again")
        except QueueUnavailable:
            return None
        return True

    await eventually(poll, 20.0)


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


@pytest.mark.parametrize(
    ("break_server", "repair_server", "reason"),
    [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "memory is full"),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "takes no writes"),
        (
            "CONFIG SET min-replicas-to-write 1",
            "CONFIG SET min-replicas-to-write 0",
            "too few replicas",
        ),
    ],
)
async def test_refused_writes_are_explained_and_recover(
    server: RedisServer, break_server: str, repair_server: str, reason: str
) -> None:
    async with connect_redis(server.url) as client, connect_redis(server.url) as other:
        await push_value(client, "before")
        await run_command(other, *break_server.split())
        with pytest.raises(QueueUnavailable, match=reason):
            await push_value(client, "during")
        await run_command(other, *repair_server.split())
        await push_value(client, "after")
        assert await list_values(client) == ["before", "after"]


async def test_a_loading_redis_is_reported_and_used_once_ready(tmp_path: Path) -> None:
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

    async def poll() -> bool | None:
        try:
            await push_value(client, "after")
        except QueueUnavailable as error:
            reasons.add(error.detail)
            return None
        return True

    await eventually(poll, 60.0)
    await starting
    assert any("loading" in reason for reason in reasons), reasons
    assert len(await list_values(client)) == 9_001


async def test_an_invalid_command_is_not_an_outage(server: RedisServer) -> None:
    async with connect_redis(server.url) as client:
        await client.set("list", "no list")
        with pytest.raises(ResponseError):
            await push_value(client, "value")


async def test_kill_9_of_redis_loses_no_job_that_was_accepted(server: RedisServer) -> None:
    accepted: list[str] = []

    async def submit(queue: JobQueue) -> None:
        while True:
            record = JobRecord(
                id=new_job_id(), media_type="video/mp4", clip_bytes=1, trace_id="0" * 32
            )
            accepted.append((await queue.submit(record)).record.id)

    settings = Settings(redis_url=server.url, max_queued_jobs=1_000_000)
    async with JobQueue.open(settings) as queue, QueueMaintenance.open(settings) as maintenance:
        for _ in range(3):
            submitters = [asyncio.create_task(submit(queue)) for _ in range(8)]
            goal = len(accepted) + 300
            await until(partial(_has_reached, accepted, goal), 30.0)
            await asyncio.to_thread(server.kill)
            await asyncio.wait(submitters, timeout=MAX_FAILURE_SECONDS)
            assert {QueueUnavailable} == {type(each.exception()) for each in submitters}
            await asyncio.to_thread(server.start)
            assert set(await maintenance.find_records(accepted)) == set(accepted)
        # only the response to the last submission of each submitter may have been lost
        assert len(accepted) <= (await queue.measure_backlog()).depth <= len(accepted) + 3 * 8


def _has_reached(accepted: list[str], goal: int) -> bool:
    return len(accepted) >= goal
