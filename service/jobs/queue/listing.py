"""Jobs in the order of their creation, newest first, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass

from redis.asyncio import Redis

from service.jobs.queue.records import JobRecordReader
from service.jobs.record import JobRecord, JobState
from service.redis_client.client import redis_errors_translated
from service.redis_client.scripts import ALL_OWNERS, LuaScripts


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs: of one owner (None: of everybody), in a state, failed with an error code."""

    owner: str | None
    state: JobState | None = None
    error_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecordPage:
    """Some jobs; `before` leads to the next page: older than that, seconds. None: no more."""

    jobs: tuple[JobRecord, ...]
    before: str | None


class JobListing:
    """Raises QueueUnavailable when Redis is away."""

    def __init__(self, redis: Redis, scripts: LuaScripts, records: JobRecordReader) -> None:
        self._redis = redis
        self._scripts = scripts
        self._records = records

    async def read_page(
        self, job_filter: JobFilter, *, size: int, before: str | None = None
    ) -> JobRecordPage:
        """The next `size` jobs; each job that was there all the while is on just one page.

        Args: before: the last page's `before`, a time of creation as Redis writes it.
        """
        async with redis_errors_translated():
            found: list[tuple[str, float]] = await self._redis.zrange(
                self._index_key(job_filter),
                start="+inf" if before is None else f"({before}",  # type: ignore[arg-type]
                end="-inf",  # type: ignore[arg-type]
                desc=True,
                byscore=True,
                offset=0,
                num=size + 1,
                withscores=True,
            )
        shown = found[:size]
        # who was removed meanwhile is left out
        records = await self._records.find_many(job_id for job_id, _ in shown)
        more = len(found) > size
        return JobRecordPage(
            jobs=tuple(records.values()), before=f"{shown[-1][1]:.6f}" if more else None
        )

    def _index_key(self, job_filter: JobFilter) -> str:
        parts = ["index", ALL_OWNERS if job_filter.owner is None else job_filter.owner]
        if job_filter.error_code is not None:
            parts += [JobState.FAILED, job_filter.error_code]
        elif job_filter.state is not None:
            parts.append(job_filter.state)
        return self._scripts.key(*parts)
