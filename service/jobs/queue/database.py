"""Keys, Lua scripts, job records and maintenance of one queue in Redis.

Every state change of a job is one script: record, schedule, indices, stored bytes and event change
together or not at all. lua/prelude.lua lists the keys. Maintenance is what the janitor calls:
expired jobs and clips, blobs to delete, the pairing mark.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

from service.errors import JobUnknown
from service.jobs.record import JobRecord, JobState, record_from_fields
from service.redis_client.client import (
    Redis,
    ScriptLibrary,
    connect_redis,
    list_members,
    redis_errors_translated,
)
from service.settings import Settings

ALL_OWNERS: Final = "*"
"""Stands for all owners together in index and stored bytes, as in lua/prelude.lua."""
PACKAGE: Final = "service.jobs.queue"
PRELUDE: Final = "prelude"
SCRIPTS: Final = (
    "cancel",
    "claim",
    "drop_clips",
    "expire_jobs",
    "finish",
    "release_key",
    "remove",
    "renew",
    "requeue",
    "reserve_key",
    "retry",
    "submit",
)
BATCH_SIZE: Final = 100
"""Default number of jobs that one call of maintenance handles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Selection of jobs by owner (None: all), state, and error code of failed ones."""

    owner: str | None
    state: JobState | None = None
    error_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecordPage:
    """Page of a listing. before: start of the next page, a creation time; None: the last page."""

    jobs: tuple[JobRecord, ...]
    before: str | None


class QueueDatabase:
    """One queue in Redis; every method that accesses it raises QueueUnavailable."""

    def __init__(self, redis: Redis, queue_name: str) -> None:
        self.redis = redis
        self._queue_name = queue_name
        self._scripts = ScriptLibrary(redis, PACKAGE, SCRIPTS, prelude=PRELUDE)

    def key(self, *parts: str) -> str:
        """Return the name of a key of this queue."""
        return ":".join((self._queue_name, *parts))

    def index_key(self, owner: str, *state_and_code: str) -> str:
        """Return the key of the jobs of an owner, or of those in a state."""
        return self.key("index", owner, *state_and_code)

    async def run_script(self, name: str, *arguments: str | float) -> Any:
        """Run one of SCRIPTS and return its result; a script sent twice takes effect once."""
        return await self._scripts.run(name, [self._queue_name], arguments)

    async def find(self, job_id: str) -> JobRecord:
        """Return the record of a job; raises JobUnknown."""
        async with redis_errors_translated():
            fields: Any = await self.redis.hgetall(self.key("job", job_id))
        if not fields:
            raise JobUnknown(f"there is no job {job_id[:64]!r}")
        return record_from_fields(fields)

    async def find_many(self, job_ids: Iterable[str]) -> dict[str, JobRecord]:
        """Return the records of those jobs that exist, in the order of the ids."""
        ids = list(job_ids)
        async with redis_errors_translated(), self.redis.pipeline(transaction=False) as pipeline:
            for job_id in ids:
                pipeline.hgetall(self.key("job", job_id))
            hashes = await pipeline.execute()
        found = zip(ids, hashes, strict=True)
        return {job_id: record_from_fields(fields) for job_id, fields in found if fields}

    async def read_page(
        self, job_filter: JobFilter, *, size: int, before: str | None = None
    ) -> JobRecordPage:
        """Return the next `size` jobs by creation time, newest first.

        A job that exists while all pages are read is on exactly one of them.

        Args: before: the `before` of the page that precedes this one.
        """
        async with redis_errors_translated():
            newest: Any = await self.redis.zrange(  # pyright: ignore[reportUnknownMemberType]  # score_cast_func is untyped
                self._filter_key(job_filter),
                start="+inf" if before is None else f"({before}",  # pyright: ignore[reportArgumentType]  # a score, since byscore
                end="-inf",  # pyright: ignore[reportArgumentType]  # a score, since byscore
                desc=True,
                byscore=True,
                offset=0,
                num=size + 1,
                withscores=True,
            )
        found: list[tuple[str, float]] = newest
        listed = found[:size]
        # a job that was removed meanwhile is omitted
        records = await self.find_many(job_id for job_id, _ in listed)
        has_more = len(found) > size
        return JobRecordPage(
            jobs=tuple(records.values()), before=f"{listed[-1][1]:.6f}" if has_more else None
        )

    def _filter_key(self, job_filter: JobFilter) -> str:
        owner = ALL_OWNERS if job_filter.owner is None else job_filter.owner
        if job_filter.error_code is not None:
            return self.index_key(owner, JobState.FAILED, job_filter.error_code)
        if job_filter.state is not None:
            return self.index_key(owner, job_filter.state)
        return self.index_key(owner)


class QueueMaintenance:
    """Steps that several processes may take at once, and again after a crash.

    Every method raises QueueUnavailable.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._database = QueueDatabase(redis, settings.queue_name)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncGenerator[Self]:
        """Open it with its own connections; succeeds even if Redis is unavailable."""
        async with connect_redis(settings.redis_url) as redis:
            yield cls(redis, settings)

    async def expire_jobs(self, limit: int = BATCH_SIZE) -> int:
        """Remove expired jobs and return their number; their blobs become purgeable."""
        return int(await self._database.run_script("expire_jobs", limit))

    async def list_purgeable_jobs(self, limit: int = BATCH_SIZE) -> list[str]:
        """List removed jobs whose clip and results are still to be deleted."""
        async with redis_errors_translated():
            return await list_members(self._redis, self._database.key("purge"), 0, limit - 1)

    async def mark_purged(self, job_id: str) -> None:
        """Record that all blobs of a removed job are deleted."""
        async with redis_errors_translated():
            await self._redis.zrem(self._database.key("purge"), job_id)

    async def list_expired_clips(self, limit: int = BATCH_SIZE) -> list[str]:
        """List ended jobs whose clip is to be deleted; from now on they cannot be retried."""
        return await self._database.run_script("drop_clips", limit)

    async def mark_clip_dropped(self, job_id: str) -> None:
        """Record that the clip of an ended job is deleted."""
        async with redis_errors_translated():
            await self._redis.zrem(self._database.key("clip_expiry"), job_id)

    async def find_records(self, job_ids: Iterable[str]) -> dict[str, JobRecord]:
        """Return the records of those jobs that exist."""
        return await self._database.find_many(job_ids)

    async def read_pairing_mark(self) -> str | None:
        """Return the pairing mark of the queue; None: it has none yet."""
        async with redis_errors_translated():
            mark: Any = await self._redis.get(self._database.key("pair"))
        return mark

    async def claim_pairing_mark(self, mark: str) -> str:
        """Set the mark of the queue unless it has one; return the one it has."""
        async with redis_errors_translated():
            await self._redis.set(self._database.key("pair"), mark, nx=True)
        return await self.read_pairing_mark() or mark
