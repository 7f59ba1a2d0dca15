"""What version 1 left in Redis, and what its workers do meanwhile, is of use to this version."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator

import httpx
import pytest
from redis.asyncio import Redis

from service.api.app import create_app
from service.jobs.connection import connect
from service.jobs.record import JobState, clip_key, new_job_id
from service.jobs.upkeep import Upkeep
from service.office.gateway import Gateway
from tests.integration.pretence import analysis_of, chunks_of
from tests.integration.rooms import Rooms, eventually
from tests.integration.servers import serving

CLAIM = """
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'queued' and state ~= 'running' then return 0 end
redis.call('HSETNX', KEYS[1], 'started_at', ARGV[1])
redis.call('HSET', KEYS[1], 'state', 'running', 'frames_done', '0', 'claim_token', ARGV[2])
return redis.call('HINCRBY', KEYS[1], 'attempt', 1)
"""
CHANGE = """
local attempt, state = unpack(redis.call('HMGET', KEYS[1], 'attempt', 'state'))
if attempt ~= ARGV[1] or state ~= 'running' then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
return 1
"""
"""What version 1 asked of Redis to begin a job, and to end one."""


class VersionOne:
    """Gateway and worker of version 1, as far as Redis and the store see them."""

    def __init__(self, redis: Redis, rooms: Rooms) -> None:
        self._redis = redis
        self._rooms = rooms
        self._queue = rooms.settings.queue_name

    def _key(self, job_id: str) -> str:
        return f"{self._queue}:job:{job_id}"

    async def submit(self, **fields: str) -> str:
        job_id = new_job_id()
        await self._rooms.store.put(clip_key(job_id), chunks_of(b"clip"))
        record = {
            "schema": "1",
            "id": job_id,
            "state": "queued",
            "filename": "old.mp4",
            "media_type": "video/mp4",
            "clip_bytes": "4",
            "trace_id": "0" * 32,
            "faces": "primary",
            "created_at": str(time.time() - 100),
            "attempt": "0",
            "lost": "0",
            "frames_done": "0",
            **fields,
        }
        await self._redis.hset(self._key(job_id), mapping=record)
        # docket's own
        await self._redis.xadd(f"{self._queue}:stream", {"key": job_id, "function": "annotate"})
        await self._redis.set(f"{self._queue}:known:{job_id}", str(time.time()))
        await self._redis.hset(f"{self._queue}:runs:{job_id}", "state", "queued")
        return job_id

    async def claim(self, job_id: str) -> int:
        return int(
            await self._redis.eval(CLAIM, 1, self._key(job_id), str(time.time()), new_job_id())
        )

    async def succeed(self, job_id: str, attempt: int) -> bool:
        for name in ("json", "csv"):
            key = f"results/{job_id}/{attempt}.{name}"
            await self._rooms.store.put(key, chunks_of(b"from version 1"))
        fields = ("state", "succeeded", "finished_at", str(time.time()), "published", str(attempt))
        counts = ("frames_done", "5", "frames_total", "5")
        changed = await self._redis.eval(
            CHANGE, 1, self._key(job_id), str(attempt), *fields, *counts
        )
        return changed == 1


@pytest.fixture
async def old(rooms: Rooms) -> AsyncGenerator[VersionOne]:
    redis = connect(rooms.settings.redis_url)
    try:
        yield VersionOne(redis, rooms)
    finally:
        await redis.aclose()


async def adopt(rooms: Rooms) -> int:
    async with Upkeep.open(rooms.settings) as upkeep:
        return await upkeep.adopt()


async def test_every_job_of_version_1_is_read_listed_and_brought_to_its_end(
    old: VersionOne, rooms: Rooms, gateway: Gateway
) -> None:
    queued = await old.submit()
    running = await old.submit()
    await old.claim(running)
    done = await old.submit()
    await old.succeed(done, await old.claim(done))
    failed = await old.submit(
        state="failed", attempt="1", error_code="clip_not_media", error_detail="a text file"
    )
    before = [(await rooms.desk.find(each)).state for each in (queued, running, done, failed)]

    assert await adopt(rooms) == 4
    assert await adopt(rooms) == 0
    async with rooms.worker(analysis_of(5)):
        ends = [await rooms.finished(each) for each in (queued, running)]
    async with (
        serving(create_app(gateway)) as address,
        httpx.AsyncClient(base_url=address) as client,
    ):
        result = await client.get(f"/v1/jobs/{done}/result", params={"format": "csv"})
        reason = await client.get(f"/v1/jobs/{failed}/result")
        listed = (await client.get("/v1/jobs")).json()["jobs"]
        removed = await client.delete(f"/v1/jobs/{done}")

    assert before == ["queued", "running", "succeeded", "failed"]
    assert {JobState.SUCCEEDED} == {record.state for record in ends}
    assert [record.attempt for record in ends] == [1, 2]
    assert (result.status_code, result.text) == (200, "from version 1")
    assert (reason.status_code, reason.json()["code"]) == (422, "clip_not_media")
    assert {queued, running, done, failed} == {job["id"] for job in listed}
    assert removed.status_code == 204


async def test_what_a_worker_of_version_1_ends_meanwhile_stays_as_it_is(
    old: VersionOne, rooms: Rooms
) -> None:
    ended_while_waiting = await old.submit()
    ended_on_lease = await old.submit()
    attempt = await old.claim(ended_on_lease)
    assert await adopt(rooms) == 2
    assert await old.succeed(ended_while_waiting, await old.claim(ended_while_waiting))
    assert await old.succeed(ended_on_lease, attempt)
    ended = (ended_while_waiting, ended_on_lease)

    async def looked_at() -> bool | None:
        records = [await rooms.desk.find(job_id) for job_id in ended]
        return all(record.expires_at is not None for record in records) or None

    async with rooms.worker(analysis_of(5)):
        await eventually(looked_at, 30.0)

    for job_id in ended:
        record = await rooms.desk.find(job_id)
        assert (record.state, record.attempt, record.published) == (JobState.SUCCEEDED, 1, 1)
    assert (await rooms.desk.backlog()).depth == 0


async def test_a_worker_of_version_1_that_is_too_late_publishes_nothing(
    old: VersionOne, rooms: Rooms
) -> None:
    job_id = await old.submit()
    attempt = await old.claim(job_id)
    await adopt(rooms)
    async with rooms.worker(analysis_of(5)):
        record = await rooms.finished(job_id)

    assert not await old.succeed(job_id, attempt)
    assert (record.attempt, record.published) == (2, 2)
    assert (await rooms.desk.find(job_id)).published == 2
