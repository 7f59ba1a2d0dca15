"""The queue's side of keeping order: what is over, and which blobs nobody needs any more."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, Self

from redis.asyncio import Redis

from service.jobs.queue.records import JobRecordReader
from service.jobs.record import JobRecord
from service.redis_client.client import connect_redis, redis_errors_translated
from service.redis_client.scripts import LuaScripts
from service.settings import Settings

BATCH_SIZE: Final = 100
SCAN_TIMEOUT_SECONDS: Final = 60.0
"""A million keys are looked through in some ten."""


class QueueMaintenance:
    """Every step may be taken by several processes at once, and again after a crash.

    Raises QueueUnavailable from each method when Redis is away.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._settings = settings
        self._scripts = LuaScripts(redis, settings.queue_name)
        self._records = JobRecordReader(redis, self._scripts)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncGenerator[Self]:
        """Upkeep with its own connections; succeeds whether Redis is there or not."""
        async with connect_redis(settings.redis_url) as redis:
            yield cls(redis, settings)

    async def expire_jobs(self, limit: int = BATCH_SIZE) -> int:
        """Forget jobs whose time is over; returns how many. Their blobs are due then."""
        return int(await self._scripts.run("expire", limit))

    async def list_purgeable_jobs(self, limit: int = BATCH_SIZE) -> list[str]:
        """Ids of removed jobs whose clip and results are still to be deleted."""
        async with redis_errors_translated():
            found: Any = await self._redis.zrange(self._scripts.key("purge"), 0, limit - 1)
        return found

    async def mark_purged(self, job_id: str) -> None:
        """Nothing is left of a removed job."""
        async with redis_errors_translated():
            await self._redis.zrem(self._scripts.key("purge"), job_id)

    async def list_expired_clips(self, limit: int = BATCH_SIZE) -> list[str]:
        """Ids of finished jobs whose clip is to be deleted; they cannot be tried again any more."""
        return await self._scripts.run("drop_clips", limit)

    async def mark_clip_dropped(self, job_id: str) -> None:
        """The clip of a finished job is deleted."""
        async with redis_errors_translated():
            await self._redis.zrem(self._scripts.key("clip_expiry"), job_id)

    async def find_records(self, ids: Iterable[str]) -> dict[str, JobRecord]:
        """Those of the jobs that there are."""
        return await self._records.find_many(ids)

    async def read_pairing_mark(self) -> str | None:
        """The mark that the blob store of this queue bears too; None where there is none yet."""
        async with redis_errors_translated():
            found: Any = await self._redis.get(self._scripts.key("pair"))
        return found

    async def claim_pairing_mark(self, mark: str) -> str:
        """Give the queue a mark, unless it has one; returns the one it has."""
        async with redis_errors_translated():
            await self._redis.set(self._scripts.key("pair"), mark, nx=True)
        return await self.read_pairing_mark() or mark

    async def migrate_version_1_jobs(self) -> int:
        """Take over jobs that version 1 recorded, and go on with them; returns how many."""
        settings = self._settings
        times = (settings.lease_seconds, settings.clip_ttl_seconds, settings.job_ttl_seconds)
        adopted = 0
        for job_id in await self._find_version_1_jobs():
            adopted += int(await self._scripts.run("adopt", job_id, *times))
        return adopted

    async def _find_version_1_jobs(self) -> list[str]:
        prefix = self._scripts.key("job", "")
        async with redis_errors_translated(SCAN_TIMEOUT_SECONDS):
            names = [name async for name in self._redis.scan_iter(f"{prefix}*", count=1000)]
            schemas: list[str | None] = []
            for start in range(0, len(names), 1000):
                async with self._redis.pipeline(transaction=False) as questions:
                    for name in names[start : start + 1000]:
                        questions.hget(name, "schema")
                    schemas += await questions.execute()
        found = zip(names, schemas, strict=True)
        return [name.removeprefix(prefix) for name, schema in found if schema == "1"]
