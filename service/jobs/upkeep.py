"""The queue's side of keeping order: what is over, and which blobs nobody needs any more."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, Self

from redis.asyncio import Redis

from service.jobs.connection import connect, reaching_redis
from service.jobs.record import JobRecord
from service.jobs.records import Records
from service.jobs.scripts import Scripts
from service.settings import Settings

AT_ONCE: Final = 100
SCAN_SECONDS: Final = 60.0
"""A million keys are looked through in some ten."""


class Upkeep:
    """Every step may be taken by several processes at once, and again after a crash.

    Raises QueueUnavailable from each method when Redis is away.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._settings = settings
        self._scripts = Scripts(redis, settings.queue_name)
        self._records = Records(redis, self._scripts)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncGenerator[Self]:
        """Upkeep with its own connections; succeeds whether Redis is there or not."""
        async with connect(settings.redis_url) as redis:
            yield cls(redis, settings)

    async def expire(self, limit: int = AT_ONCE) -> int:
        """Forget jobs whose time is over; returns how many. Their blobs are due then."""
        return int(await self._scripts.run("expire", limit))

    async def to_purge(self, limit: int = AT_ONCE) -> list[str]:
        """Ids of removed jobs whose clip and results are still to be deleted."""
        async with reaching_redis():
            found: Any = await self._redis.zrange(self._scripts.key("purge"), 0, limit - 1)
        return found

    async def purged(self, job_id: str) -> None:
        """Nothing is left of a removed job."""
        async with reaching_redis():
            await self._redis.zrem(self._scripts.key("purge"), job_id)

    async def clips_due(self, limit: int = AT_ONCE) -> list[str]:
        """Ids of finished jobs whose clip is to be deleted; they cannot be tried again any more."""
        return await self._scripts.run("drop_clips", limit)

    async def clip_dropped(self, job_id: str) -> None:
        """The clip of a finished job is deleted."""
        async with reaching_redis():
            await self._redis.zrem(self._scripts.key("clip_expiry"), job_id)

    async def known(self, ids: Iterable[str]) -> dict[str, JobRecord]:
        """Those of the jobs that there are."""
        return await self._records.known(ids)

    async def pair(self) -> str | None:
        """The mark that the blob store of this queue bears too; None where there is none yet."""
        async with reaching_redis():
            found: Any = await self._redis.get(self._scripts.key("pair"))
        return found

    async def pair_up(self, mark: str) -> str:
        """Give the queue a mark, unless it has one; returns the one it has."""
        async with reaching_redis():
            await self._redis.set(self._scripts.key("pair"), mark, nx=True)
        return await self.pair() or mark

    async def adopt(self) -> int:
        """Take over jobs that version 1 recorded, and go on with them; returns how many."""
        settings = self._settings
        times = (settings.lease_seconds, settings.clip_ttl_seconds, settings.job_ttl_seconds)
        adopted = 0
        for job_id in await self._recorded_by_version_1():
            adopted += int(await self._scripts.run("adopt", job_id, *times))
        return adopted

    async def _recorded_by_version_1(self) -> list[str]:
        prefix = self._scripts.key("job", "")
        async with reaching_redis(SCAN_SECONDS):
            names = [name async for name in self._redis.scan_iter(f"{prefix}*", count=1000)]
            schemas: list[str | None] = []
            for start in range(0, len(names), 1000):
                async with self._redis.pipeline(transaction=False) as questions:
                    for name in names[start : start + 1000]:
                        questions.hget(name, "schema")
                    schemas += await questions.execute()
        found = zip(names, schemas, strict=True)
        return [name.removeprefix(prefix) for name, schema in found if schema == "1"]
