"""Queue operations of a worker: claim a job, renew its lease, end, defer or release it.

Two invariants: a job that has ended does not change (until it is retried), and only the latest
attempt at a job may change it. Any change by another attempt raises AttemptSuperseded.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Self
from uuid import uuid4

from service.errors import AttemptsExhausted, CircumplexError, QueueUnavailable
from service.jobs.queue.changes import JobChanges
from service.jobs.queue.database import QueueDatabase
from service.jobs.record import JobRecord, JobState, record_from_fields
from service.redis_client.client import Redis, connect_redis
from service.settings import Settings

HEARTBEAT_SECONDS: Final = 0.4
"""Interval of lease renewals; also the delay after which an attempt learns of a cancellation."""
SETTLE_RETRY_SECONDS: Final = 1.0
"""Pause before the end of an attempt is recorded again during an outage."""

_HELD: Final = 1
_WITHDRAWN: Final = -1
"""Statuses of an attempt in lua/prelude.lua."""

log = logging.getLogger(__name__)


class AttemptSuperseded(Exception):
    """Another attempt has the job, or the job has ended."""


class JobWithdrawn(AttemptSuperseded):
    """The job was cancelled or removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Attempt at a job, valid while its lease is renewed and the job is not cancelled."""

    record: JobRecord

    @property
    def job_id(self) -> str:
        """Id of the job."""
        return self.record.id

    @property
    def attempt(self) -> int:
        """Number of the attempt: the fencing token."""
        return self.record.attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimOutcome:
    """Result of claiming: a job, if there was one, and the attempts that were found lost.

    lost_attempts: number of attempts whose lease has ended.
    exhausted_jobs: ids of jobs that have failed because they lost too many workers.
    """

    claim: Claim | None
    lost_attempts: int = 0
    exhausted_jobs: tuple[str, ...] = ()


class LeaseManager:
    """Leases of the jobs of one queue; every method raises QueueUnavailable."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._settings = settings
        self._database = QueueDatabase(redis, settings.queue_name)
        self.changes = JobChanges(self._database)
        self._worker_id = f"{socket.gethostname()}:{os.getpid()}"

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncGenerator[Self]:
        """Open it with its own connections; succeeds even if Redis is unavailable."""
        async with connect_redis(settings.redis_url) as redis:
            leases = cls(redis, settings)
            try:
                yield leases
            finally:
                await leases.changes.close()

    async def claim(self, *, only_lost: bool = False, only_newcomers: bool = False) -> ClaimOutcome:
        """Claim a job whose lease has ended, else the next queued one.

        Args: only_lost: claim no queued job. only_newcomers: claim only a queued job of a client
            that runs none.
        """
        limit, max_running = self._settings.max_attempts, self._settings.max_running_jobs_per_client
        exhausted = AttemptsExhausted(f"{limit} workers were lost while they worked on it")
        exhausted_jobs, lost, fields = await self._database.run_script(
            "claim",
            *(self._worker_id, uuid4().hex, self._settings.lease_seconds, limit),
            *(exhausted.code, exhausted.detail),
            *(self._settings.clip_ttl_seconds, self._settings.job_ttl_seconds, int(only_lost)),
            *(-1 if max_running is None else max_running, int(only_newcomers)),
        )
        found = dict(zip(fields[::2], fields[1::2], strict=True))
        claim = Claim(record=record_from_fields(found)) if found else None
        return ClaimOutcome(
            claim=claim, lost_attempts=int(lost), exhausted_jobs=tuple(exhausted_jobs)
        )

    async def renew(self, claim: Claim, done: int, total: int | None) -> None:
        """Renew the lease and record the progress in frames; raises AttemptSuperseded."""
        lease_seconds = self._settings.lease_seconds
        known_total = "" if total is None else total
        await self._run_fenced(claim, "renew", lease_seconds, done, known_total)

    async def succeed(self, claim: Claim, *, frames: int, result_bytes: int) -> None:
        """Publish the results, which are in the store already; raises AttemptSuperseded."""
        published = {"frames_done": frames, "frames_total": frames, "published": claim.attempt}
        clip_seconds = self._settings.clip_ttl_seconds
        await self._finish(claim, JobState.SUCCEEDED, "", result_bytes, clip_seconds, **published)

    async def fail(self, claim: Claim, error: CircumplexError) -> None:
        """End the job with an error; raises AttemptSuperseded.

        A clip that can never be analysed is dropped at once.
        """
        clip_seconds = 0.0 if error.condemns_clip else self._settings.clip_ttl_seconds
        values = {"error_detail": error.detail}
        await self._finish(claim, JobState.FAILED, error.code, 0, clip_seconds, **values)

    async def defer(
        self, claim: Claim, *, seconds: float, deferrals: int, lost: int | None = None
    ) -> None:
        """Return the job to the queue after a delay; raises AttemptSuperseded.

        Args: lost: new number of lost attempts, if this attempt was one.
        """
        known_lost = () if lost is None else ("lost", lost)
        await self._run_fenced(claim, "requeue", seconds, "deferrals", deferrals, *known_lost)

    async def release(self, claim: Claim) -> None:
        """Return the job to the queue now; the attempt counts as no failure.

        Raises: AttemptSuperseded.
        """
        await self._run_fenced(claim, "requeue", 0)

    async def _finish(
        self,
        claim: Claim,
        state: JobState,
        code: str,
        result_bytes: int,
        clip_seconds: float,
        **values: str | int,
    ) -> None:
        times = (clip_seconds, self._settings.job_ttl_seconds)
        fields = (part for pair in values.items() for part in pair)
        await self._run_fenced(claim, "finish", state, *times, code, result_bytes, *fields)

    async def _run_fenced(self, claim: Claim, script: str, *arguments: str | float) -> None:
        status = await self._database.run_script(script, claim.job_id, claim.attempt, *arguments)
        attempt = f"attempt {claim.attempt} at job {claim.job_id}"
        if status == _WITHDRAWN:
            raise JobWithdrawn(attempt)
        if status != _HELD:
            raise AttemptSuperseded(attempt)


class Heartbeat:
    """Lease renewal of one attempt, at an interval; the attempt sets its progress here."""

    def __init__(self, lease_manager: LeaseManager, claim: Claim) -> None:
        self._lease_manager = lease_manager
        self._claim = claim
        self._lock = asyncio.Lock()
        self._is_settled = False
        self.frames_done = 0
        self.frames_expected: int | None = None

    async def run(self) -> None:
        """Renew until the attempt is settled; raises AttemptSuperseded.

        An outage of Redis costs no lease: see record_contact in lua/prelude.lua.
        """
        while not self._is_settled:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            async with self._lock:
                if not self._is_settled:
                    await self._renew_lease()

    async def settle(self, step: Callable[[], Awaitable[None]]) -> None:
        """Run the step that ends the attempt; repeat it while the queue is unavailable.

        Raises: AttemptSuperseded, and any other error of `step`.
        """
        while not self._is_settled:
            async with self._lock:
                try:
                    await step()
                    self._is_settled = True
                except QueueUnavailable as error:
                    log.warning(
                        "job %s: its end is not recorded yet: %s", self._claim.job_id, error
                    )
                    await asyncio.sleep(SETTLE_RETRY_SECONDS)

    async def _renew_lease(self) -> None:
        try:
            await self._lease_manager.renew(self._claim, self.frames_done, self.frames_expected)
        except QueueUnavailable as error:
            log.warning("job %s: its lease is not renewed: %s", self._claim.job_id, error)
