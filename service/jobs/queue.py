"""The queue of jobs: docket over Redis Streams, leases and redelivery included."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

from docket import Docket
from redis.asyncio import Redis

from service.errors import InternalError
from service.jobs.connection import MOST_CONNECTIONS, connect, reaching_redis, repeat
from service.settings import Settings

TASK: Final = "annotate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Jobs that no worker has taken: how many, and for how long the oldest has waited."""

    depth: int
    oldest_age_seconds: float


async def annotate(job_id: str) -> None:
    """The task as both sides name it; a worker registers what it does instead."""
    raise InternalError(f"job {job_id} was delivered to a process that is no worker")


class JobQueue:
    """Takes jobs in; `docket` is what a consumer takes them from."""

    def __init__(self, docket: Docket, redis: Redis) -> None:
        self.docket = docket
        self._redis = redis
        # docket's own pool raises where ours waits
        self._turns = asyncio.Semaphore(MOST_CONNECTIONS)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncGenerator[Self]:
        """A queue with its own connections; succeeds whether Redis is there or not."""
        docket = Docket(name=settings.queue_name, url=settings.redis_url)
        docket.register(annotate, names=[TASK])
        redis = connect(settings.redis_url)
        try:
            async with docket:
                yield cls(docket, redis)
        finally:
            await redis.aclose()

    async def submit(self, job_id: str) -> None:
        """Queue a job, once for each id; raises QueueUnavailable."""
        async with reaching_redis(), self._turns:
            await repeat(lambda: self.docket.add(TASK, key=job_id)(job_id))

    async def backlog(self) -> Backlog:
        """What waits in the stream, and retries that wait for their time.

        Raises: QueueUnavailable.
        """
        async with reaching_redis():
            waiting = await self._redis.xlen(self.docket.stream_key)
            waiting += await self._redis.zcard(self.docket.queue_key)
            delivered, pending = await self._delivered()
            first = await self._redis.xrange(self.docket.stream_key, min=delivered, count=1)
        age = max(time.time() - int(str(first[0][0]).split("-")[0]) / 1000, 0.0) if first else 0.0
        return Backlog(depth=max(waiting - pending, 0), oldest_age_seconds=age)

    async def _delivered(self) -> tuple[str, int]:
        """Where the undelivered part of the stream starts, and how many are being worked on."""
        if not await self._redis.exists(self.docket.stream_key):
            return "-", 0
        groups: list[dict[str, Any]] = await self._redis.xinfo_groups(self.docket.stream_key)
        for group in groups:
            if group["name"] == self.docket.worker_group_name:
                return f"({group['last-delivered-id']}", group["pending"]
        return "-", 0
