"""Running janitors, and the blobs and keys that they are to delete."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from service.jobs.cleanup.janitor import Janitor
from service.jobs.queue.database import QueueMaintenance
from service.redis_client.client import connect_redis, list_members
from tests.integration.fakes import iterate_chunks
from tests.integration.job_environment import JobEnvironment
from tests.integration.redis_access import list_keys

OLD_BLOB_SECONDS = 7200.0
"""Twice the default of `orphan_grace_seconds`."""


@asynccontextmanager
async def running_janitor(env: JobEnvironment, **changes: object) -> AsyncGenerator[None]:
    settings = env.settings.model_copy(update=changes)
    async with QueueMaintenance.open(settings) as maintenance:
        running = asyncio.create_task(Janitor(maintenance, env.store, settings).run())
        try:
            yield
            assert not running.done()
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def put_old_blob(
    env: JobEnvironment, key: str, *, age_seconds: float = OLD_BLOB_SECONDS
) -> str:
    """Store a blob of a certain age and return its key."""
    await env.store.put(key, iterate_chunks(b"left"))
    modified_at = time.time() - age_seconds
    await asyncio.to_thread(os.utime, env.settings.store_dir / key, (modified_at, modified_at))
    return key


async def make_due(env: JobEnvironment, name: str, job_id: str) -> None:
    """Make a job the first one of a sorted set of the queue."""
    async with connect_redis(env.settings.redis_url) as redis:
        assert await redis.zadd(env.key(name), {job_id: 1}, xx=True, ch=True)


async def list_blob_keys(env: JobEnvironment) -> set[str]:
    found: set[str] = set()
    for prefix in ("clips", "results", "ready"):
        found |= {blob.key async for blob in env.store.list(prefix)}
    return found


async def find_job_traces(env: JobEnvironment, job_id: str) -> list[str]:
    """List the keys of the queue and the blobs that name a job."""
    async with connect_redis(env.settings.redis_url) as redis:
        keys = await list_keys(redis, env.key(f"*{job_id}"))
        purgeable = await list_members(redis, env.key("purge"))
    return keys + purgeable + [key for key in await list_blob_keys(env) if job_id in key]
