"""The worker's side of a job's record: claim it, keep it, end it.

Two rules hold whatever workers do: a finished job never changes again, and only the latest
attempt at a job may change it. An attempt that was superseded learns so from its next write.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Self
from uuid import uuid4

from redis.asyncio import Redis

from service.errors import AttemptsExhausted, CircumplexError
from service.jobs.record import JobRecord, JobState, record_from_fields
from service.redis_client.client import connect_redis
from service.redis_client.scripts import LuaScripts
from service.settings import Settings

LEASE_HELD: Final = 1
JOB_WITHDRAWN: Final = -1
"""What the scripts say of an attempt's standing."""


class AttemptSuperseded(Exception):
    """Another attempt has taken the job, or the job is finished."""


class JobWithdrawn(AttemptSuperseded):
    """The job was cancelled or deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to work on a job, for as long as its lease is renewed and nobody cancels it."""

    record: JobRecord

    @property
    def job_id(self) -> str:
        """Which job."""
        return self.record.id

    @property
    def attempt(self) -> int:
        """Which attempt at it: the fencing token."""
        return self.record.attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimOutcome:
    """What a worker got, and what came to light as it asked.

    lost: attempts whose lease has ended without a word from their worker.
    given_up: jobs that have lost too many workers, and have just failed.
    """

    claim: Claim | None
    lost_attempts: int = 0
    exhausted_jobs: tuple[str, ...] = ()


class LeaseManager:
    """Every job's record; raises QueueUnavailable from each method when Redis is away."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._settings = settings
        self._scripts = LuaScripts(redis, settings.queue_name)
        self._worker_id = f"{socket.gethostname()}:{os.getpid()}"

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncGenerator[Self]:
        """A ledger with its own connections; succeeds whether Redis is there or not."""
        async with connect_redis(settings.redis_url) as redis:
            yield cls(redis, settings)

    async def claim(self, *, only_lost: bool = False) -> ClaimOutcome:
        """The next attempt, if there is work: what lost its worker first, then whose turn it is.

        Args: only_lost: leave those that wait where they are.
        """
        limit = self._settings.max_attempts
        exhausted = AttemptsExhausted(f"{limit} workers were lost while they worked on it")
        given_up, lost, fields = await self._scripts.run(
            "claim",
            *(self._worker_id, uuid4().hex, self._settings.lease_seconds, limit),
            *(exhausted.code, exhausted.detail),
            *(self._settings.clip_ttl_seconds, self._settings.job_ttl_seconds, int(only_lost)),
        )
        found = dict(zip(fields[::2], fields[1::2], strict=True))
        claim = Claim(record=record_from_fields(found)) if found else None
        return ClaimOutcome(claim=claim, lost_attempts=int(lost), exhausted_jobs=tuple(given_up))

    async def renew(self, claim: Claim, done: int, total: int | None) -> None:
        """Renew the lease and say how far the attempt is; raises AttemptSuperseded."""
        lease_seconds = self._settings.lease_seconds
        known_total = "" if total is None else total
        await self._run_fenced(claim, "beat", lease_seconds, done, known_total)

    async def succeed(self, claim: Claim, *, frames: int, result_bytes: int) -> None:
        """Publish the attempt's results, which are in the store; raises AttemptSuperseded."""
        published = {"frames_done": frames, "frames_total": frames, "published": claim.attempt}
        await self._finish(claim, JobState.SUCCEEDED, "", result_bytes, **published)

    async def fail(self, claim: Claim, error: CircumplexError) -> None:
        """End the job with an error; raises AttemptSuperseded."""
        await self._finish(claim, JobState.FAILED, error.code, 0, error_detail=error.detail)

    async def defer(
        self, claim: Claim, *, seconds: float, deferrals: int, lost: int | None = None
    ) -> None:
        """Have the job tried again later; raises AttemptSuperseded.

        Args: lost: attempts lost by now, if this was one.
        """
        known_lost = () if lost is None else ("lost", lost)
        await self._run_fenced(claim, "put_back", seconds, "deferrals", deferrals, *known_lost)

    async def release(self, claim: Claim) -> None:
        """Return the job to the queue, nobody's fault; raises AttemptSuperseded."""
        await self._run_fenced(claim, "put_back", 0)

    async def _finish(
        self, claim: Claim, state: JobState, code: str, result_bytes: int, **values: str | int
    ) -> None:
        times = (self._settings.clip_ttl_seconds, self._settings.job_ttl_seconds)
        fields = (part for pair in values.items() for part in pair)
        await self._run_fenced(claim, "finish", state, *times, code, result_bytes, *fields)

    async def _run_fenced(self, claim: Claim, script: str, *arguments: str | float) -> None:
        standing = await self._scripts.run(script, claim.job_id, claim.attempt, *arguments)
        told = f"attempt {claim.attempt} at job {claim.job_id}"
        if standing == JOB_WITHDRAWN:
            raise JobWithdrawn(told)
        if standing != LEASE_HELD:
            raise AttemptSuperseded(told)
