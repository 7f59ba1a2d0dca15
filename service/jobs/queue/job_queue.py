"""The gateway's side of a job: accept it, show it, cancel it, try it again, remove it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, Self

from redis.asyncio import Redis

from service.domain.caller import Caller, CallerQuotas
from service.errors import (
    CircumplexError,
    JobFinished,
    JobNotRetryable,
    JobUnknown,
    QueueFull,
    QuotaExceeded,
)
from service.jobs.queue.events import JobEventLog
from service.jobs.queue.idempotency_keys import IdempotencyKeys, Reservation
from service.jobs.queue.listing import JobListing
from service.jobs.queue.records import JobRecordReader
from service.jobs.record import JobRecord, JobState, record_to_fields
from service.redis_client.client import connect_redis, redis_errors_translated
from service.redis_client.scripts import ALL_OWNERS, LuaScripts
from service.settings import Settings

NO_LIMIT: Final = -1
FULL_RETRY_SECONDS: Final = 10.0
"""When to ask again where there is no room now: jobs end every few seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueBacklog:
    """Jobs that no worker has: how many, and for how long the oldest has waited."""

    depth: int
    oldest_age_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitReceipt:
    """What became of a submission.

    earlier_fingerprint: of the request that this idempotency key came with before; `record` is
    then the job of that request, and the submission has queued nothing.
    """

    record: JobRecord
    prior_fingerprint: str | None = None


class JobQueue:
    """Raises QueueUnavailable from each method when Redis is away."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._settings = settings
        self._scripts = LuaScripts(redis, settings.queue_name)
        self._records = JobRecordReader(redis, self._scripts)
        self.events = JobEventLog(redis, self._scripts)
        self.listing = JobListing(redis, self._scripts, self._records)
        self.idempotency_keys = IdempotencyKeys(self._scripts)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncGenerator[Self]:
        """A desk with its own connections; succeeds whether Redis is there or not."""
        async with connect_redis(settings.redis_url) as redis:
            yield cls(redis, settings)

    async def check_capacity(self, caller: Caller, clip_bytes: int = 0) -> None:
        """Refuse early what `submit` would refuse; raises QueueFull or QuotaExceeded."""
        limits = caller.limits
        async with redis_errors_translated(), self._redis.pipeline(transaction=False) as questions:
            questions.zcard(self._index_key(ALL_OWNERS, JobState.QUEUED))
            questions.zcard(self._index_key(caller.owner, JobState.QUEUED))
            questions.zcard(self._index_key(caller.owner, JobState.RUNNING))
            questions.hget(self._scripts.key("stored"), caller.owner)
            waiting, queued, running, stored = await questions.execute()
        if waiting >= self._settings.max_queued_jobs:
            raise self._capacity_error("queue_full", limits)
        if limits.open_jobs is not None and queued + running >= limits.open_jobs:
            raise self._capacity_error("open_jobs", limits)
        if limits.stored_bytes is not None and int(stored or 0) + clip_bytes > limits.stored_bytes:
            raise self._capacity_error("stored_bytes", limits)

    async def submit(
        self,
        record: JobRecord,
        *,
        limits: CallerQuotas | None = None,
        reservation: Reservation | None = None,
    ) -> SubmitReceipt:
        """Accept a job whose clip is in the store: from here on it will be done, once.

        Raises: QueueFull, QuotaExceeded: nothing of it stays in the queue.
        """
        limits = limits or CallerQuotas()
        verdict, *found = await self._scripts.run(
            "submit",
            *(record.id, self._settings.max_queued_jobs),
            *(_encode_limit(limits.open_jobs), _encode_limit(limits.stored_bytes)),
            *(reservation.to_script_arguments() if reservation else ("", "", 0)),
            *(part for pair in record_to_fields(record).items() for part in pair),
        )
        if verdict == "accepted":
            return SubmitReceipt(record=replace(record, created_at=float(found[0])))
        if verdict == "earlier":
            return SubmitReceipt(record=await self.find(found[0]), prior_fingerprint=found[1])
        raise self._capacity_error(verdict, limits)

    async def find(self, job_id: str) -> JobRecord:
        """The job as it stands; raises JobUnknown."""
        return await self._records.find(job_id)

    async def cancel(self, job_id: str) -> JobRecord:
        """Stop a job: whoever works on it learns so with its next beat.

        A job that is cancelled already is shown. Raises: JobUnknown, JobFinished.
        """
        times = (self._settings.clip_ttl_seconds, self._settings.job_ttl_seconds)
        state = await self._scripts.run("cancel", job_id, *times)
        if state in (JobState.SUCCEEDED, JobState.FAILED):
            raise JobFinished(f"the job has {state} and cannot be cancelled")
        return await self.find(job_id)

    async def retry(self, job_id: str, *, limits: CallerQuotas | None = None) -> JobRecord:
        """Queue a failed or cancelled job anew; one that waits already is shown.

        Raises: JobUnknown, JobNotRetryable, QueueFull, QuotaExceeded.
        """
        limits = limits or CallerQuotas()
        bounds = (self._settings.max_queued_jobs, _encode_limit(limits.open_jobs))
        verdict = await self._scripts.run("retry", job_id, *bounds)
        if verdict == "clip_dropped":
            raise JobNotRetryable("the clip is not kept any more: submit it again")
        if verdict in tuple(JobState):
            raise JobNotRetryable(f"the job is {verdict}")
        if verdict not in ("accepted", "unknown"):
            raise self._capacity_error(verdict, limits)
        return await self.find(job_id)

    async def remove(self, job_id: str) -> None:
        """Forget a job, whatever it is doing; its blobs are due for deletion.

        Raises: JobUnknown.
        """
        if not await self._scripts.run("remove", job_id):
            raise JobUnknown(f"there is no job {job_id[:64]!r}")

    async def measure_backlog(self) -> QueueBacklog:
        """What waits, and since when."""
        queued = self._index_key(ALL_OWNERS, JobState.QUEUED)
        async with redis_errors_translated(), self._redis.pipeline(transaction=False) as questions:
            questions.zcard(queued)
            questions.zrange(queued, 0, 0, withscores=True)
            questions.time()
            depth, first, (seconds, microseconds) = await questions.execute()
        age = max(seconds + microseconds / 1e6 - first[0][1], 0.0) if first else 0.0
        return QueueBacklog(depth=depth, oldest_age_seconds=age)

    async def measure_stored_bytes(self) -> int:
        """What all clips and results weigh together."""
        async with redis_errors_translated():
            return int(await self._redis.hget(self._scripts.key("stored"), ALL_OWNERS) or 0)

    async def is_ready(self) -> bool:
        """Whether Redis answers."""
        async with redis_errors_translated():
            return bool(await self._redis.ping())

    def _index_key(self, owner: str, state: JobState) -> str:
        return self._scripts.key("index", owner, state)

    def _capacity_error(self, verdict: str, limits: CallerQuotas) -> CircumplexError:
        if verdict == "open_jobs":
            told = f"{limits.open_jobs} jobs of this key are queued or running already"
            return QuotaExceeded(told, retry_seconds=FULL_RETRY_SECONDS)
        if verdict == "stored_bytes":
            told = f"this key may keep {limits.stored_bytes} bytes of clips and results"
            return QuotaExceeded(told, retry_seconds=FULL_RETRY_SECONDS)
        told = f"{self._settings.max_queued_jobs} jobs wait already"
        return QueueFull(told, retry_seconds=FULL_RETRY_SECONDS)


def _encode_limit(limit: int | None) -> int:
    return NO_LIMIT if limit is None else limit
