"""Queue operations of the gateway: submit, find, list, cancel, retry and remove jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, Self

from service.domain.caller import Caller, CallerQuotas
from service.errors import (
    CircumplexError,
    JobFinished,
    JobNotRetryable,
    JobUnknown,
    QueueFull,
    QuotaExceeded,
)
from service.jobs.queue.changes import JobChanges
from service.jobs.queue.database import ALL_OWNERS, JobFilter, JobRecordPage, QueueDatabase
from service.jobs.queue.events import JobEventLog
from service.jobs.queue.idempotency_keys import IdempotencyKeys, Reservation
from service.jobs.record import JobRecord, JobState, record_to_fields
from service.redis_client.client import Redis, connect_redis, redis_errors_translated
from service.settings import Settings

NO_LIMIT: Final = -1
COUNTED_AT_ONCE: Final = 500
"""Records of a page that is counted."""
FULL_RETRY_SECONDS: Final = 10.0
"""Advised wait when a limit is reached: jobs end every few seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueBacklog:
    """Number of queued jobs, and the age of the oldest."""

    depth: int
    oldest_age_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitReceipt:
    """Result of a submission.

    prior_fingerprint: of an earlier request with the same idempotency key; `record` is then the
    job of that request, and nothing was queued.
    """

    record: JobRecord
    prior_fingerprint: str | None = None


class JobQueue:
    """Job queue as the gateway uses it; every method raises QueueUnavailable."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._settings = settings
        self._database = QueueDatabase(redis, settings.queue_name)
        self.changes = JobChanges(self._database)
        self.events = JobEventLog(self._database, self.changes)
        self.idempotency_keys = IdempotencyKeys(self._database)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncGenerator[Self]:
        """Open the queue with its own connections; succeeds even if Redis is unavailable."""
        async with connect_redis(settings.redis_url) as redis:
            queue = cls(redis, settings)
            try:
                yield queue
            finally:
                await queue.changes.close()

    async def check_capacity(self, caller: Caller, clip_bytes: int = 0) -> None:
        """Check the limits of `submit` before an upload; raises QueueFull or QuotaExceeded."""
        limits = caller.limits
        async with redis_errors_translated(), self._redis.pipeline(transaction=False) as pipeline:
            pipeline.zcard(self._database.index_key(ALL_OWNERS, JobState.QUEUED))
            pipeline.zcard(self._database.index_key(caller.client_id, JobState.QUEUED))
            pipeline.zcard(self._database.index_key(caller.client_id, JobState.RUNNING))
            pipeline.zcard(self._database.index_key(caller.client_id))
            pipeline.hget(self._database.key("stored"), caller.client_id)
            waiting, queued, running, stored_jobs, stored = await pipeline.execute()
        if waiting >= self._settings.max_queued_jobs:
            raise self._capacity_error("queue_full", limits)
        if limits.open_jobs is not None and queued + running >= limits.open_jobs:
            raise self._capacity_error("open_jobs", limits)
        if limits.stored_jobs is not None and stored_jobs >= limits.stored_jobs:
            raise self._capacity_error("stored_jobs", limits)
        if limits.stored_bytes is not None and int(stored or 0) + clip_bytes > limits.stored_bytes:
            raise self._capacity_error("stored_bytes", limits)

    async def submit(
        self,
        record: JobRecord,
        *,
        limits: CallerQuotas | None = None,
        reservation: Reservation | None = None,
    ) -> SubmitReceipt:
        """Queue a job whose clip is in the store; submitting the same record again does nothing.

        Raises: QueueFull, QuotaExceeded: nothing was queued.
        """
        limits = limits or CallerQuotas()
        verdict, *found = await self._database.run_script(
            "submit",
            *(record.id, self._settings.max_queued_jobs),
            *(_encode_limit(limits.open_jobs), _encode_limit(limits.stored_jobs)),
            _encode_limit(limits.stored_bytes),
            *(reservation.to_script_arguments() if reservation else ("", "", 0)),
            *(part for pair in record_to_fields(record).items() for part in pair),
        )
        if verdict == "accepted":
            return SubmitReceipt(record=replace(record, created_at=float(found[0])))
        if verdict == "earlier":
            return SubmitReceipt(record=await self.find(found[0]), prior_fingerprint=found[1])
        raise self._capacity_error(verdict, limits)

    async def find(self, job_id: str) -> JobRecord:
        """Return the record of a job; raises JobUnknown."""
        return await self._database.find(job_id)

    async def read_page(
        self, job_filter: JobFilter, *, size: int, before: str | None = None
    ) -> JobRecordPage:
        """Return the next `size` jobs, newest first; see QueueDatabase.read_page."""
        return await self._database.read_page(job_filter, size=size, before=before)

    async def count_open_by_model(self) -> Counter[str]:
        """Count the queued and running jobs by the model, NAME@VERSION, that they are pinned to."""
        counts: Counter[str] = Counter()
        for state in (JobState.QUEUED, JobState.RUNNING):
            before: str | None = None
            while True:
                job_filter = JobFilter(owner=None, state=state)
                page = await self.read_page(job_filter, size=COUNTED_AT_ONCE, before=before)
                counts.update(record.model for record in page.jobs if record.model)
                before = page.before
                if before is None:
                    break
        return counts

    async def cancel(self, job_id: str) -> JobRecord:
        """Cancel a job; its worker learns of it when it next renews the lease.

        A cancelled job is returned unchanged. Raises: JobUnknown, JobFinished.
        """
        times = (self._settings.clip_ttl_seconds, self._settings.job_ttl_seconds)
        state = await self._database.run_script("cancel", job_id, *times)
        if state in (JobState.SUCCEEDED, JobState.FAILED):
            raise JobFinished(f"the job has {state} and cannot be cancelled")
        return await self.find(job_id)

    async def retry(self, job_id: str, *, limits: CallerQuotas | None = None) -> JobRecord:
        """Queue a failed or cancelled job again; a queued job is returned unchanged.

        Raises: JobUnknown, JobNotRetryable, QueueFull, QuotaExceeded.
        """
        limits = limits or CallerQuotas()
        bounds = (self._settings.max_queued_jobs, _encode_limit(limits.open_jobs))
        verdict = await self._database.run_script("retry", job_id, *bounds)
        if verdict == "clip_dropped":
            raise JobNotRetryable("the clip is no longer stored: submit it again")
        if verdict in tuple(JobState):
            raise JobNotRetryable(f"the job is {verdict}")
        if verdict not in ("accepted", "unknown"):
            raise self._capacity_error(verdict, limits)
        return await self.find(job_id)

    async def remove(self, job_id: str) -> None:
        """Remove a job in any state; its blobs become purgeable. Raises JobUnknown."""
        if not await self._database.run_script("remove", job_id):
            raise JobUnknown(f"there is no job {job_id[:64]!r}")

    async def measure_backlog(self) -> QueueBacklog:
        """Return the number of queued jobs and the age of the oldest."""
        queued = self._database.index_key(ALL_OWNERS, JobState.QUEUED)
        async with redis_errors_translated(), self._redis.pipeline(transaction=False) as pipeline:
            pipeline.zcard(queued)
            pipeline.zrange(queued, 0, 0, withscores=True)  # pyright: ignore[reportUnknownMemberType]  # score_cast_func is untyped
            pipeline.time()  # pyright: ignore[reportUnknownMemberType]  # untyped
            depth, oldest, (seconds, microseconds) = await pipeline.execute()
        age = max(seconds + microseconds / 1e6 - oldest[0][1], 0.0) if oldest else 0.0
        return QueueBacklog(depth=depth, oldest_age_seconds=age)

    async def measure_stored_bytes(self, client_id: str = ALL_OWNERS) -> int:
        """Return the size of the clips and results of a client, or of all together."""
        async with redis_errors_translated():
            return int(await self._redis.hget(self._database.key("stored"), client_id) or 0)

    async def is_ready(self) -> bool:
        """Return whether Redis answers; raises QueueUnavailable if it does not."""
        async with redis_errors_translated():
            return bool(await self._redis.ping())  # pyright: ignore[reportUnknownMemberType]  # untyped

    def _capacity_error(self, verdict: str, limits: CallerQuotas) -> CircumplexError:
        if verdict == "open_jobs":
            detail = f"{limits.open_jobs} jobs of this key or address are queued or running already"
            return QuotaExceeded(detail, retry_seconds=FULL_RETRY_SECONDS)
        if verdict == "stored_bytes":
            return stored_bytes_error(limits.stored_bytes)
        if verdict == "stored_jobs":
            detail = (
                f"this key or address may keep {limits.stored_jobs} jobs: "
                "delete some, or wait until they expire"
            )
            return QuotaExceeded(detail, retry_seconds=FULL_RETRY_SECONDS)
        detail = f"{self._settings.max_queued_jobs} jobs wait already"
        return QueueFull(detail, retry_seconds=FULL_RETRY_SECONDS)


def stored_bytes_error(quota_bytes: int | None) -> QuotaExceeded:
    """The error of a caller whose clips and results would exceed its quota."""
    detail = (
        f"this key or address may store {quota_bytes} bytes of clips and results: "
        "delete jobs, or wait until they expire"
    )
    return QuotaExceeded(detail, retry_seconds=FULL_RETRY_SECONDS)


def _encode_limit(limit: int | None) -> int:
    return NO_LIMIT if limit is None else limit
