"""Claims jobs while there are free hands, and brings them to an end when the worker stops."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from service.errors import QueueUnavailable
from service.jobs.queue.leases import Claim, ClaimOutcome, LeaseManager
from service.settings import Settings
from service.telemetry.metrics import Metrics

EMPTY_QUEUE_POLL_SECONDS: Final = 0.1
"""From one look into an empty queue to the next."""
OUTAGE_POLL_SECONDS: Final = 1.0
"""From one look at a part that is away to the next, at most."""

log = logging.getLogger(__name__)

ClaimHandler = Callable[[Claim], Awaitable[bool]]
"""Does one attempt and settles it; an Annotator, as a rule.

It says whether all that it takes was there. It must not block the event loop, where leases are
renewed, and when it is cancelled it hands its job back.
"""

ReadinessCheck = Callable[[], Awaitable[bool]]
"""Whether work can be done at all: Triton and the store are there."""


class Consumer:
    """Takes as many jobs at once as the settings say.

    Once a part was away it looks for it before it claims another job: those that wait do not
    use up their tries, and start as soon as the part is back. What has lost its worker is
    taken over all the same, and put off by the attempt that finds the part away.
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
        """Work until `stop` is set, then finish what can be finished in `drain_seconds`.

        What cannot is handed back: another worker takes it at once.
        """
        stopping = asyncio.create_task(stop.wait(), name="stop signal")
        try:
            while not stop.is_set():
                pause = await self._claim_jobs()
                busy = self._attempts if len(self._attempts) >= self._slots else ()
                await asyncio.wait(
                    (stopping, *busy), timeout=pause, return_when=asyncio.FIRST_COMPLETED
                )
            await self._drain()
        finally:
            stopping.cancel()
            await self._cancel_attempts()

    @property
    def _slots(self) -> int:
        return self._settings.worker_concurrency

    @property
    def _readiness_poll_seconds(self) -> float:
        """From one look at a part to the next: often enough for Redis to know of our pulse."""
        return min(OUTAGE_POLL_SECONDS, self._settings.lease_seconds / 8)

    async def _claim_jobs(self) -> float | None:
        """Claim until no hand is free or nothing waits; returns the seconds to the next look."""
        try:
            while len(self._attempts) < self._slots:
                self._must_check_readiness = (
                    self._must_check_readiness and not await self._is_ready()
                )
                claimed = await self._lease_manager.claim(only_lost=self._must_check_readiness)
                self._report_lost_attempts(claimed)
                if self._is_queue_unavailable:
                    log.info("the queue is back")
                    self._is_queue_unavailable = False
                if claimed.claim is None:
                    return (
                        self._readiness_poll_seconds
                        if self._must_check_readiness
                        else EMPTY_QUEUE_POLL_SECONDS
                    )
                self._start_attempt(claimed.claim)
        except QueueUnavailable as error:
            if not self._is_queue_unavailable:
                log.warning("no jobs for now: %s", error)
            self._is_queue_unavailable = True
            return OUTAGE_POLL_SECONDS * random.uniform(0.5, 1.0)  # noqa: S311
        return None

    def _report_lost_attempts(self, outcome: ClaimOutcome) -> None:
        self._metrics.workers_lost_total.inc(outcome.lost_attempts)
        for job_id in outcome.exhausted_jobs:
            self._metrics.decode_rejected_total.labels("attempts_exhausted").inc()
            log.error("job %s is given up: worker after worker was lost", job_id)

    def _start_attempt(self, claim: Claim) -> None:
        task = asyncio.create_task(self._run_attempt(claim), name=f"job {claim.job_id}")
        self._attempts.add(task)
        task.add_done_callback(self._attempts.discard)

    async def _run_attempt(self, claim: Claim) -> None:
        try:
            if not await self._handle_claim(claim):
                self._must_check_readiness = True
        except Exception:
            log.exception("job %s: its attempt ended without a word; the lease will", claim.job_id)

    async def _drain(self) -> None:
        log.info("draining: %d jobs under way", len(self._attempts))
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=self._settings.drain_seconds)

    async def _cancel_attempts(self) -> None:
        left = tuple(self._attempts)
        if left:
            log.warning("draining took too long: %d jobs are handed back", len(left))
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
