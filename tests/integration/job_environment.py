"""The rooms that gateway and worker share, and a worker of one's own in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from service.domain.options import Priority
from service.domain.ports import BlobStore
from service.jobs.queue.job_queue import JobQueue
from service.jobs.queue.leases import Claim, LeaseManager
from service.jobs.record import JobRecord, clip_key, new_job_id
from service.jobs.worker.consumer import Consumer, ReadinessCheck
from service.jobs.worker.job_runner import Analyse, JobRunner
from service.redis_client.client import connect_redis
from service.settings import Settings
from service.telemetry.metrics import Metrics
from tests.integration.fakes import always_ready, iterate_chunks

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class JobEnvironment:
    settings: Settings
    leases: LeaseManager
    queue: JobQueue
    store: BlobStore
    metrics: Metrics

    async def submit(self, owner: str = "anyone", priority: Priority = Priority.BULK) -> str:
        """A stored clip with a queued job, as the gateway makes them."""
        job_id = new_job_id()
        size = await self.store.put(clip_key(job_id), iterate_chunks(b"clip"))
        record = JobRecord(
            id=job_id,
            owner=owner,
            priority=priority,
            media_type="video/mp4",
            clip_bytes=size,
            trace_id="0" * 32,
        )
        return (await self.queue.submit(record)).record.id

    async def claim(self) -> Claim:
        """The next job, which must be there."""
        claimed = await self.leases.claim()
        assert claimed.claim is not None
        return claimed.claim

    async def expire_lease(self, claim: Claim) -> None:
        """Let a claim's lease end, as if its worker had died."""
        async with connect_redis(self.settings.redis_url) as redis:
            assert await redis.zadd(
                f"{self.settings.queue_name}:leases", {claim.job_id: 1}, xx=True, ch=True
            )

    async def expire_deferral(self, job_id: str) -> None:
        """Let the time of a job come that is put off."""
        async with connect_redis(self.settings.redis_url) as redis:
            await redis.zadd(f"{self.settings.queue_name}:delayed", {job_id: 1}, xx=True)

    def make_job_runner(self, analyse: Analyse) -> JobRunner:
        return JobRunner(
            lease_manager=self.leases,
            store=self.store,
            analyse=analyse,
            provenance=lambda: {"weights": "untrained"},
            settings=self.settings,
            metrics=self.metrics,
        )

    @asynccontextmanager
    async def running_worker(
        self, analyse: Analyse, is_ready: ReadinessCheck = always_ready
    ) -> AsyncGenerator[asyncio.Event]:
        """A worker in this process; setting the event stops it."""
        stop = asyncio.Event()
        annotator = self.make_job_runner(analyse)
        consumer = Consumer(self.leases, self.settings, annotator, is_ready, self.metrics)
        running = asyncio.create_task(consumer.run(stop))
        try:
            yield stop
        finally:
            stop.set()
            await running

    async def wait_for_end(self, job_id: str, seconds: float = 30.0) -> JobRecord:
        """The job once it has ended."""

        async def look() -> JobRecord | None:
            record = await self.queue.find(job_id)
            return record if record.state.is_final else None

        return await eventually(look, seconds)

    def list_stored_files(self, folder: str) -> list[str]:
        """Names of every file in a part of the store, temporary ones too."""
        files = (self.settings.store_dir / folder).rglob("*")
        return sorted(file.name for file in files if file.is_file())


async def eventually(poll: Callable[[], Awaitable[T | None]], seconds: float = 10.0) -> T:
    """What `look` finds, as soon as it finds something."""
    async with asyncio.timeout(seconds):
        while True:
            if (found := await poll()) is not None:
                return found
            await asyncio.sleep(0.02)
