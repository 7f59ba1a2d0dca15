"""What version 1 left in Redis, and what its workers do meanwhile, is of use to this version."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator

import httpx
import pytest
from redis.asyncio import Redis

from service.gateway.context import GatewayContext
from service.gateway.rest.app import create_app
from service.jobs.queue.maintenance import QueueMaintenance
from service.jobs.record import JobState, clip_key, new_job_id
from service.redis_client.client import connect_redis
from tests.integration.fakes import iterate_chunks, make_fake_analysis
from tests.integration.job_environment import JobEnvironment, eventually
from tests.integration.servers import serving

V1_CLAIM_SCRIPT = """
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'queued' and state ~= 'running' then return 0 end
redis.call('HSETNX', KEYS[1], 'started_at', ARGV[1])
redis.call('HSET', KEYS[1], 'state', 'running', 'frames_done', '0', 'claim_token', ARGV[2])
return redis.call('HINCRBY', KEYS[1], 'attempt', 1)
"""
V1_CHANGE_SCRIPT = """
local attempt, state = unpack(redis.call('HMGET', KEYS[1], 'attempt', 'state'))
if attempt ~= ARGV[1] or state ~= 'running' then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
return 1
"""
"""What version 1 asked of Redis to begin a job, and to end one."""


class VersionOneService:
    """Gateway and worker of version 1, as far as Redis and the store see them."""

    def __init__(self, redis: Redis, rooms: JobEnvironment) -> None:
        self._redis = redis
        self._rooms = rooms
        self._queue = rooms.settings.queue_name

    def _key(self, job_id: str) -> str:
        return f"{self._queue}:job:{job_id}"

    async def submit(self, **fields: str) -> str:
        job_id = new_job_id()
        await self._rooms.store.put(clip_key(job_id), iterate_chunks(b"clip"))
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
            await self._redis.eval(
                V1_CLAIM_SCRIPT, 1, self._key(job_id), str(time.time()), new_job_id()
            )
        )

    async def succeed(self, job_id: str, attempt: int) -> bool:
        for name in ("json", "csv"):
            key = f"results/{job_id}/{attempt}.{name}"
            await self._rooms.store.put(key, iterate_chunks(b"from version 1"))
        fields = ("state", "succeeded", "finished_at", str(time.time()), "published", str(attempt))
        counts = ("frames_done", "5", "frames_total", "5")
        changed = await self._redis.eval(
            V1_CHANGE_SCRIPT, 1, self._key(job_id), str(attempt), *fields, *counts
        )
        return changed == 1


@pytest.fixture
async def version_one(env: JobEnvironment) -> AsyncGenerator[VersionOneService]:
    redis = connect_redis(env.settings.redis_url)
    try:
        yield VersionOneService(redis, env)
    finally:
        await redis.aclose()


async def adopt_version_one_jobs(rooms: JobEnvironment) -> int:
    async with QueueMaintenance.open(rooms.settings) as upkeep:
        return await upkeep.migrate_version_1_jobs()


async def test_every_job_of_version_1_is_read_listed_and_brought_to_its_end(
    version_one: VersionOneService, env: JobEnvironment, gateway: GatewayContext
) -> None:
    queued = await version_one.submit()
    running = await version_one.submit()
    await version_one.claim(running)
    done = await version_one.submit()
    await version_one.succeed(done, await version_one.claim(done))
    failed = await version_one.submit(
        state="failed", attempt="1", error_code="clip_not_media", error_detail="a text file"
    )
    before = [(await env.queue.find(each)).state for each in (queued, running, done, failed)]

    assert await adopt_version_one_jobs(env) == 4
    assert await adopt_version_one_jobs(env) == 0
    async with env.running_worker(make_fake_analysis(5)):
        ends = [await env.wait_for_end(each) for each in (queued, running)]
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


async def test_a_job_finished_by_a_version_1_worker_is_unchanged(
    version_one: VersionOneService, env: JobEnvironment
) -> None:
    ended_while_waiting = await version_one.submit()
    ended_on_lease = await version_one.submit()
    attempt = await version_one.claim(ended_on_lease)
    assert await adopt_version_one_jobs(env) == 2
    assert await version_one.succeed(
        ended_while_waiting, await version_one.claim(ended_while_waiting)
    )
    assert await version_one.succeed(ended_on_lease, attempt)
    ended = (ended_while_waiting, ended_on_lease)

    async def looked_at() -> bool | None:
        records = [await env.queue.find(job_id) for job_id in ended]
        return all(record.expires_at is not None for record in records) or None

    async with env.running_worker(make_fake_analysis(5)):
        await eventually(looked_at, 30.0)

    for job_id in ended:
        record = await env.queue.find(job_id)
        assert (record.state, record.attempt, record.published) == (JobState.SUCCEEDED, 1, 1)
    assert (await env.queue.measure_backlog()).depth == 0


async def test_a_worker_of_version_1_that_is_too_late_publishes_nothing(
    version_one: VersionOneService, env: JobEnvironment
) -> None:
    job_id = await version_one.submit()
    attempt = await version_one.claim(job_id)
    await adopt_version_one_jobs(env)
    async with env.running_worker(make_fake_analysis(5)):
        record = await env.wait_for_end(job_id)

    assert not await version_one.succeed(job_id, attempt)
    assert (record.attempt, record.published) == (2, 2)
    assert (await env.queue.find(job_id)).published == 2
