"""Queue and blob store that gateway and worker share, and a worker in this process."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from service.domain.options import Priority
from service.domain.ports import BlobStore
from service.jobs.queue.job_queue import JobQueue
from service.jobs.queue.leases import Claim, LeaseManager
from service.jobs.record import JobRecord, JobState, clip_key, new_job_id
from service.jobs.worker.consumer import Consumer, ReadinessCheck
from service.jobs.worker.job_runner import Analyse, JobRunner
from service.redis_client.client import connect_redis
from service.settings import Settings
from service.telemetry.metrics import Metrics
from tests.fake_estimators import make_fake_catalog
from tests.integration.fakes import always_ready, iterate_chunks

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class JobEnvironment:
    settings: Settings
    leases: LeaseManager
    queue: JobQueue
    store: BlobStore
    metrics: Metrics

    @asynccontextmanager
    async def with_settings(self, settings: Settings) -> AsyncGenerator[JobEnvironment]:
        """Open the queue of other settings, with the same store."""
        async with LeaseManager.open(settings) as leases, JobQueue.open(settings) as queue:
            yield dataclasses.replace(self, settings=settings, leases=leases, queue=queue)

    def key(self, name: str) -> str:
        """Return the name of a key of the queue in Redis."""
        return f"{self.settings.queue_name}:{name}"

    async def submit(
        self,
        owner: str = "anyone",
        priority: Priority = Priority.BULK,
        *,
        client_id: str | None = None,
        model: str | None = None,
    ) -> str:
        """Store a clip and queue its job, as the gateway does."""
        job_id = new_job_id()
        size = await self.store.put(clip_key(job_id), iterate_chunks(b"clip"))
        record = JobRecord(
            id=job_id,
            owner=owner,
            client_id=client_id,
            model=model,
            priority=priority,
            media_type="video/mp4",
            clip_bytes=size,
            trace_id="0" * 32,
        )
        return (await self.queue.submit(record)).record.id

    async def read_result(self, job_id: str, name: str) -> bytes:
        """Read a result of a job that has succeeded."""
        record = await self.queue.find(job_id)
        return b"".join([part async for part in await self.store.get(record.result_key(name))])

    async def claim(self) -> Claim:
        """Claim the next job, which must exist."""
        claimed = await self.leases.claim()
        assert claimed.claim is not None
        return claimed.claim

    async def expire_lease(self, claim: Claim) -> None:
        """End the lease of a claim, as if its worker had died."""
        async with connect_redis(self.settings.redis_url) as redis:
            assert await redis.zadd(self.key("leases"), {claim.job_id: 1}, xx=True, ch=True)

    async def expire_deferral(self, job_id: str) -> None:
        """Make a deferred job due."""
        async with connect_redis(self.settings.redis_url) as redis:
            await redis.zadd(self.key("delayed"), {job_id: 1}, xx=True)

    def make_job_runner(self, analyse: Analyse) -> JobRunner:
        return JobRunner(
            lease_manager=self.leases,
            store=self.store,
            analyse=analyse,
            estimators=make_fake_catalog(self.settings),
            settings=self.settings,
            metrics=self.metrics,
        )

    @asynccontextmanager
    async def running_worker(
        self, analyse: Analyse, is_ready: ReadinessCheck = always_ready
    ) -> AsyncGenerator[asyncio.Event]:
        """Run a worker in this process; the event that it yields stops the worker."""
        stop = asyncio.Event()
        job_runner = self.make_job_runner(analyse)
        consumer = Consumer(self.leases, self.settings, job_runner, is_ready, self.metrics)
        running = asyncio.create_task(consumer.run(stop))
        try:
            yield stop
        finally:
            stop.set()
            await running

    async def wait_for_job(
        self, job_id: str, condition: Callable[[JobRecord], bool], seconds: float = 30.0
    ) -> JobRecord:
        """Wait until a job's record meets a condition."""

        async def poll() -> JobRecord | None:
            record = await self.queue.find(job_id)
            return record if condition(record) else None

        return await eventually(poll, seconds)

    async def wait_for_end(self, job_id: str, seconds: float = 30.0) -> JobRecord:
        return await self.wait_for_job(job_id, lambda job: job.state.is_final, seconds)

    async def wait_for_start(self, job_id: str) -> JobRecord:
        return await self.wait_for_job(job_id, lambda job: job.state is JobState.RUNNING)

    async def wait_for_progress(self, job_id: str) -> JobRecord:
        return await self.wait_for_job(job_id, lambda job: job.frames_done > 0)

    async def wait_for_outcome(self, outcome: str, seconds: float = 10.0) -> None:
        """Wait until an attempt in this process has ended with an outcome, as metrics count it."""

        async def poll() -> bool | None:
            (family,) = self.metrics.job_duration_seconds.collect()
            return (
                any(
                    sample.value
                    for sample in family.samples
                    if sample.name.endswith("_count") and sample.labels["outcome"] == outcome
                )
                or None
            )

        await eventually(poll, seconds)

    def list_stored_files(self, folder: str) -> list[str]:
        """List the names of all files in a folder of the store, temporary ones too."""
        files = (self.settings.store_dir / folder).rglob("*")
        return sorted(file.name for file in files if file.is_file())


async def eventually(poll: Callable[[], Awaitable[T | None]], seconds: float = 10.0) -> T:
    """Poll until the result is not None, and return it; raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            if (found := await poll()) is not None:
                return found
            await asyncio.sleep(0.02)


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until a condition holds; raises TimeoutError."""

    async def poll() -> bool | None:
        return condition() or None

    await eventually(poll, seconds)
