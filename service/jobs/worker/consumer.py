"""Worker process: claims jobs up to a concurrency limit, and drains when it is stopped.

queue ──claim──▶ Consumer ──▶ one task per attempt (JobRunner) ──▶ results, state of the job
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Final, Literal

from prometheus_client import start_http_server

from service.errors import QueueUnavailable
from service.jobs.queue.leases import Claim, ClaimOutcome, LeaseManager
from service.settings import Settings
from service.telemetry.metrics import Metrics

EMPTY_QUEUE_POLL_SECONDS: Final = 0.5
"""Interval at which an empty queue is polled: for deferred jobs and those of lost workers. Of a
job that is queued a worker is notified."""
MIN_CLAIM_SECONDS: Final = 0.05
"""Shortest interval between two polls of a worker that others have been faster than."""
RESERVED_SLOTS_POLL_SECONDS: Final = 0.5
"""Interval at which the queue is polled for clients without a running job, beyond the slots."""
OUTAGE_POLL_SECONDS: Final = 1.0
"""Longest interval at which an unavailable queue or dependency is polled."""

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger(__name__)

ClaimHandler = Callable[[Claim], Awaitable[bool]]
"""Makes one attempt, usually a JobRunner; returns whether all dependencies were available.

It must not block the event loop, which renews leases; when cancelled it releases its job.
"""

ReadinessCheck = Callable[[], Awaitable[bool]]
"""Returns whether Triton and the store are available."""


class Consumer:
    """Consumer of the queue with `worker_concurrency` concurrent attempts.

    `worker_reserved_slots` more are for clients that run no job at any worker: jobs of one client
    that take long do not stop the others.

    After an attempt that found a dependency unavailable, queued jobs are claimed only once
    `is_ready` returns true: they keep their deferrals. Jobs that have lost their worker are
    claimed all the same, and are deferred by the attempt that finds the dependency unavailable.
    """

    def __init__(
        self,
        lease_manager: LeaseManager,
        settings: Settings,
        handle_claim: ClaimHandler,
        is_ready: ReadinessCheck,
        metrics: Metrics,
    ) -> None:
        self._lease_manager = lease_manager
        self._settings = settings
        self._handle_claim = handle_claim
        self._is_ready = is_ready
        self._must_check_readiness = False
        self._metrics = metrics
        self._attempts: set[asyncio.Task[None]] = set()
        self._is_queue_unavailable = False

    async def run(self, stop: asyncio.Event) -> None:
        """Process jobs until `stop` is set, then finish attempts for up to `drain_seconds`.

        Jobs of unfinished attempts are released: another worker can claim them at once.
        """
        stopping = asyncio.create_task(stop.wait(), name="stop signal")
        try:
            with self._lease_manager.changes.subscribe_to_queued() as queued:
                while not stop.is_set():
                    queued.clear()
                    pause = await self._claim_jobs()
                    await self._wait_for_work(stopping, queued, pause)
            await self._drain()
        finally:
            stopping.cancel()
            await self._cancel_attempts()

    async def _wait_for_work(
        self, stopping: asyncio.Task[Literal[True]], queued: asyncio.Event, pause: float | None
    ) -> None:
        """Wait until a job can be claimed, or for `pause` seconds; None: until a slot is free."""
        ends = (stopping, *(self._attempts if self._is_busy else ()))
        if pause is None:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            return
        # Readiness is checked at its interval, however many jobs are queued meanwhile.
        first = pause if self._must_check_readiness else min(pause, MIN_CLAIM_SECONDS)
        done, _ = await asyncio.wait(ends, timeout=first, return_when=asyncio.FIRST_COMPLETED)
        if done or pause <= first:
            return
        waiting = asyncio.create_task(queued.wait(), name="queued job")
        try:
            await asyncio.wait(
                (waiting, *ends), timeout=pause - first, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            waiting.cancel()

    @property
    def _is_busy(self) -> bool:
        return len(self._attempts) >= self._settings.worker_concurrency

    @property
    def _has_free_slot(self) -> bool:
        """True if there is a slot, be it a reserved one."""
        settings = self._settings
        slots = settings.worker_concurrency + settings.worker_reserved_slots
        return len(self._attempts) < slots

    @property
    def _poll_seconds(self) -> float:
        """Interval at which the queue is polled when there was no job to claim.

        Short enough for the leases: they start anew after a time without contact to Redis.
        """
        if self._must_check_readiness:
            seconds = OUTAGE_POLL_SECONDS
        else:
            seconds = RESERVED_SLOTS_POLL_SECONDS if self._is_busy else EMPTY_QUEUE_POLL_SECONDS
        return min(seconds, self._settings.lease_seconds / 8)

    async def _claim_jobs(self) -> float | None:
        """Claim jobs for all free slots; returns the seconds to wait before the next poll."""
        try:
            while self._has_free_slot:
                self._must_check_readiness = (
                    self._must_check_readiness and not await self._is_ready()
                )
                claimed = await self._lease_manager.claim(
                    only_lost=self._must_check_readiness, only_newcomers=self._is_busy
                )
                self._report_lost_attempts(claimed)
                if self._is_queue_unavailable:
                    log.info("the queue is available again")
                    self._is_queue_unavailable = False
                if claimed.claim is None:
                    return self._poll_seconds
                self._start_attempt(claimed.claim)
        except QueueUnavailable as error:
            if not self._is_queue_unavailable:
                log.warning("the queue is unavailable: %s", error)
            self._is_queue_unavailable = True
            return OUTAGE_POLL_SECONDS * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        return None

    def _report_lost_attempts(self, outcome: ClaimOutcome) -> None:
        self._metrics.workers_lost_total.inc(outcome.lost_attempts)
        for job_id in outcome.exhausted_jobs:
            self._metrics.decode_rejected_total.labels("attempts_exhausted").inc()
            log.error("job %s failed: it has lost too many workers", job_id)

    def _start_attempt(self, claim: Claim) -> None:
        task = asyncio.create_task(self._run_attempt(claim), name=f"job {claim.job_id}")
        self._attempts.add(task)
        task.add_done_callback(self._attempts.discard)

    async def _run_attempt(self, claim: Claim) -> None:
        try:
            if not await self._handle_claim(claim):
                self._must_check_readiness = True
        except Exception:
            log.exception(
                "job %s: the attempt failed; the job is claimed again when its lease ends",
                claim.job_id,
            )

    async def _drain(self) -> None:
        log.info("draining: %d jobs are running", len(self._attempts))
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=self._settings.drain_seconds)

    async def _cancel_attempts(self) -> None:
        unfinished = tuple(self._attempts)
        if unfinished:
            log.warning("drain_seconds have passed: %d jobs are released", len(unfinished))
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)


async def run_consumer(
    *,
    settings: Settings,
    lease_manager: LeaseManager,
    handle_claim: ClaimHandler,
    is_ready: ReadinessCheck,
    metrics: Metrics,
) -> None:
    """Process jobs and serve /metrics until SIGTERM or SIGINT, then drain."""
    with _metrics_served(settings, metrics), _stop_on_signals() as stop:
        log.info(
            "worker takes %d jobs at once from %s, metrics on port %d",
            settings.worker_concurrency,
            settings.queue_name,
            settings.worker_metrics_port,
        )
        await Consumer(lease_manager, settings, handle_claim, is_ready, metrics).run(stop)
    log.info("worker stopped")


@contextmanager
def _metrics_served(settings: Settings, metrics: Metrics) -> Generator[None]:
    server, thread = start_http_server(
        settings.worker_metrics_port, settings.host, registry=metrics.registry
    )
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _stop_on_signals() -> Generator[asyncio.Event]:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)
