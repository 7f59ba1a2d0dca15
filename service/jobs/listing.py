"""Jobs in the order of their creation, newest first, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass

from redis.asyncio import Redis

from service.jobs.connection import reaching_redis
from service.jobs.record import JobRecord, JobState
from service.jobs.records import Records
from service.jobs.scripts import EVERYBODY, Scripts


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which jobs: of one owner (None: of everybody), in a state, failed with an error code."""

    owner: str | None
    state: JobState | None = None
    error_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some jobs; `before` leads to the next page: older than that, seconds. None: no more."""

    jobs: tuple[JobRecord, ...]
    before: str | None


class Listing:
    """Raises QueueUnavailable when Redis is away."""

    def __init__(self, redis: Redis, scripts: Scripts, records: Records) -> None:
        self._redis = redis
        self._scripts = scripts
        self._records = records

    async def page(self, chosen: Filter, *, size: int, before: str | None = None) -> Page:
        """The next `size` jobs; each job that was there all the while is on just one page.

        Args: before: the last page's `before`, a time of creation as Redis writes it.
        """
        async with reaching_redis():
            found: list[tuple[str, float]] = await self._redis.zrange(
                self._key(chosen),
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
        records = await self._records.known(job_id for job_id, _ in shown)
        more = len(found) > size
        return Page(jobs=tuple(records.values()), before=f"{shown[-1][1]:.6f}" if more else None)

    def _key(self, chosen: Filter) -> str:
        parts = ["index", EVERYBODY if chosen.owner is None else chosen.owner]
        if chosen.error_code is not None:
            parts += [JobState.FAILED, chosen.error_code]
        elif chosen.state is not None:
            parts.append(chosen.state)
        return self._scripts.key(*parts)
