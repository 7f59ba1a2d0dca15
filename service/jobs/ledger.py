"""What is known of every job, in one Redis hash each, changed only by atomic scripts.

Two rules hold whatever workers do: a finished job never changes again, and only the latest
attempt at a job may change it. An attempt that was superseded learns so from its next write.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Self
from uuid import uuid4

from redis.asyncio import Redis

from service.errors import AttemptsExhausted, CircumplexError, JobUnknown
from service.jobs.connection import connect, reaching_redis
from service.jobs.record import JobRecord, JobState, from_fields, to_fields
from service.settings import Settings

_CREATE: Final = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV))
return 1
"""

_CLAIM: Final = """
local now, max_lost, give_up_code, give_up_detail = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local token = ARGV[5]
local state, taken = unpack(redis.call('HMGET', KEYS[1], 'state', 'claim_token'))
if taken == token then return state == 'failed' and -1 or redis.call('HGET', KEYS[1], 'attempt') end
if state ~= 'queued' and state ~= 'running' then return 0 end
if state == 'running' and redis.call('HINCRBY', KEYS[1], 'lost', 1) >= max_lost then
    redis.call('HSET', KEYS[1], 'state', 'failed', 'finished_at', now, 'claim_token', token,
        'error_code', give_up_code, 'error_detail', give_up_detail)
    return -1
end
redis.call('HSETNX', KEYS[1], 'started_at', now)
redis.call('HSET', KEYS[1], 'state', 'running', 'frames_done', '0', 'claim_token', token)
return redis.call('HINCRBY', KEYS[1], 'attempt', 1)
"""
"""The token makes the same claim again (its answer was lost) the claim it was."""

_CHANGE: Final = """
local attempt, state = unpack(redis.call('HMGET', KEYS[1], 'attempt', 'state'))
if attempt ~= ARGV[1] then return 0 end
if ARGV[2] == 'state' and ARGV[3] == state then return 1 end
if state ~= 'running' then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
return 1
"""
"""ARGV: attempt, then fields. The same change again (its answer was lost) is no error."""


class AttemptSuperseded(Exception):
    """Another attempt has taken the job, or the job is finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to work on a job, for as long as nobody claims it again."""

    job_id: str
    attempt: int


class Ledger:
    """Every job's record; raises QueueUnavailable from each method when Redis is away."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._prefix = settings.queue_name
        self._max_lost = settings.max_attempts
        self._create = redis.register_script(_CREATE)
        self._claim = redis.register_script(_CLAIM)
        self._change = redis.register_script(_CHANGE)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncGenerator[Self]:
        """A ledger with its own connections; succeeds whether Redis is there or not."""
        redis = connect(settings.redis_url)
        try:
            yield cls(redis, settings)
        finally:
            await redis.aclose()

    async def create(self, record: JobRecord) -> None:
        """Remember a new job."""
        arguments = [part for pair in to_fields(record).items() for part in pair]
        async with reaching_redis():
            await self._create(keys=[self._key(record.id)], args=arguments)

    async def find(self, job_id: str) -> JobRecord:
        """The job as it stands; raises JobUnknown."""
        async with reaching_redis():
            found = await self._redis.hgetall(self._key(job_id))
        if not found:
            raise JobUnknown(f"there is no job {job_id[:64]!r}")
        return from_fields({str(name): str(value) for name, value in found.items()})

    async def forget(self, job_id: str) -> None:
        """Drop a job; no error where there is none."""
        async with reaching_redis():
            await self._redis.delete(self._key(job_id))

    async def claim(self, job_id: str) -> Claim | None:
        """Start the next attempt; None if the job is unknown or finished.

        A job found running has lost its worker.
        Raises: AttemptsExhausted: it lost `max_attempts` of them, and has failed just now.
        """
        exhausted = AttemptsExhausted(f"{self._max_lost} workers were lost while they worked on it")
        async with reaching_redis():
            attempt = await self._claim(
                keys=[self._key(job_id)],
                args=[time.time(), self._max_lost, exhausted.code, exhausted.detail, uuid4().hex],
            )
        if int(attempt) == -1:
            raise exhausted
        return Claim(job_id=job_id, attempt=int(attempt)) if int(attempt) else None

    async def report_progress(self, claim: Claim, done: int, total: int | None) -> None:
        """Say how far an attempt is; raises AttemptSuperseded."""
        known = {} if total is None else {"frames_total": total}
        await self._write(claim, frames_done=done, **known)

    async def succeed(self, claim: Claim, frames: int) -> None:
        """Publish the attempt's results, which are in the store; raises AttemptSuperseded."""
        await self._write(
            claim,
            state=JobState.SUCCEEDED,
            finished_at=time.time(),
            frames_done=frames,
            frames_total=frames,
            published=claim.attempt,
        )

    async def fail(self, claim: Claim, error: CircumplexError) -> None:
        """End the job with an error; raises AttemptSuperseded."""
        await self._write(
            claim,
            state=JobState.FAILED,
            finished_at=time.time(),
            error_code=error.code,
            error_detail=error.detail,
        )

    async def hand_back(self, claim: Claim) -> None:
        """Return the job to the queue, nobody's fault; raises AttemptSuperseded."""
        await self._write(claim, state=JobState.QUEUED, frames_done=0)

    async def is_ready(self) -> bool:
        """Whether Redis answers."""
        async with reaching_redis():
            return bool(await self._redis.ping())

    async def _write(self, claim: Claim, **values: str | float) -> None:
        arguments = [claim.attempt, *(part for pair in values.items() for part in pair)]
        async with reaching_redis():
            written = await self._change(keys=[self._key(claim.job_id)], args=arguments)
        if not written:
            raise AttemptSuperseded(f"attempt {claim.attempt} at job {claim.job_id}")

    def _key(self, job_id: str) -> str:
        return f"{self._prefix}:job:{job_id}"
