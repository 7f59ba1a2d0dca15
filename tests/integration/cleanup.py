"""Caretakers at work, and what they find and leave."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from service.jobs.cleanup.janitor import Janitor
from service.jobs.queue.maintenance import QueueMaintenance
from service.redis_client.client import connect_redis
from tests.integration.fakes import iterate_chunks
from tests.integration.job_environment import JobEnvironment

OLD_BLOB_SECONDS = 7200.0
"""Twice the grace."""


@asynccontextmanager
async def running_janitor(rooms: JobEnvironment, **changes: object) -> AsyncGenerator[None]:
    settings = rooms.settings.model_copy(update=changes)
    async with QueueMaintenance.open(settings) as upkeep:
        working = asyncio.create_task(Janitor(upkeep, rooms.store, settings).run())
        try:
            yield
            assert not working.done()
        finally:
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working


async def put_old_blob(
    rooms: JobEnvironment, key: str, *, age_seconds: float = OLD_BLOB_SECONDS
) -> str:
    """A blob of a certain age."""
    await rooms.store.put(key, iterate_chunks(b"left"))
    then = time.time() - age_seconds
    await asyncio.to_thread(os.utime, rooms.settings.store_dir / key, (then, then))
    return key


async def make_due(rooms: JobEnvironment, name: str, job_id: str) -> None:
    """Bring forward what a job waits for in one of the queue's sorted sets."""
    async with connect_redis(rooms.settings.redis_url) as redis:
        key = f"{rooms.settings.queue_name}:{name}"
        assert await redis.zadd(key, {job_id: 1}, xx=True, ch=True)


async def list_blob_keys(rooms: JobEnvironment) -> set[str]:
    found: set[str] = set()
    for prefix in ("clips", "results", "ready"):
        found |= {blob.key async for blob in rooms.store.list(prefix)}
    return found


async def find_job_traces(rooms: JobEnvironment, job_id: str) -> list[str]:
    """Keys of the queue that name a job, and blobs that do."""
    async with connect_redis(rooms.settings.redis_url) as redis:
        named = [key async for key in redis.scan_iter(f"{rooms.settings.queue_name}:*{job_id}*")]
        due = await redis.zrange(f"{rooms.settings.queue_name}:purge", 0, -1)
    return named + due + [key for key in await list_blob_keys(rooms) if job_id in key]
