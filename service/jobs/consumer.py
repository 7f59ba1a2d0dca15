"""Claims jobs while there are free hands, and brings them to an end when the worker stops."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from service.errors import QueueUnavailable
from service.jobs.ledger import Claim, Claimed, Ledger
from service.settings import Settings
from service.telemetry.metrics import Metrics

LOOK_SECONDS: Final = 0.1
"""From one look into an empty queue to the next."""
PAUSE_SECONDS: Final = 1.0
"""From one look at a part that is away to the next, at most."""

log = logging.getLogger(__name__)

Work = Callable[[Claim], Awaitable[bool]]
"""Does one attempt and settles it; an Annotator, as a rule.

It says whether all that it takes was there. It must not block the event loop, where leases are
renewed, and when it is cancelled it hands its job back.
"""

Ready = Callable[[], Awaitable[bool]]
"""Whether work can be done at all: Triton and the store are there."""


class Consumer:
    """Takes as many jobs at once as the settings say.

    Once a part was away it looks for it before it claims another job: those that wait do not
    use up their tries, and start as soon as the part is back. What has lost its worker is
    taken over all the same, and put off by the attempt that finds the part away.
    """

    def __init__(
        self, ledger: Ledger, settings: Settings, work: Work, is_ready: Ready, metrics: Metrics
    ) -> None:
        self._ledger = ledger
        self._settings = settings
        self._work = work
        self._is_ready = is_ready
        self._is_in_doubt = False
        self._metrics = metrics
        self._at_work: set[asyncio.Task[None]] = set()
        self._is_away = False

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then finish what can be finished in `drain_seconds`.

        What cannot is handed back: another worker takes it at once.
        """
        stopping = asyncio.create_task(stop.wait(), name="stop signal")
        try:
            while not stop.is_set():
                pause = await self._fill()
                busy = self._at_work if len(self._at_work) >= self._slots else ()
                await asyncio.wait(
                    (stopping, *busy), timeout=pause, return_when=asyncio.FIRST_COMPLETED
                )
            await self._drain()
        finally:
            stopping.cancel()
            await self._interrupt()

    @property
    def _slots(self) -> int:
        return self._settings.worker_concurrency

    @property
    def _pause_seconds(self) -> float:
        """From one look at a part to the next: often enough for Redis to know of our pulse."""
        return min(PAUSE_SECONDS, self._settings.lease_seconds / 8)

    async def _fill(self) -> float | None:
        """Claim until no hand is free or nothing waits; returns the seconds to the next look."""
        try:
            while len(self._at_work) < self._slots:
                self._is_in_doubt = self._is_in_doubt and not await self._is_ready()
                claimed = await self._ledger.claim(only_lost=self._is_in_doubt)
                self._tell(claimed)
                if self._is_away:
                    log.info("the queue is back")
                    self._is_away = False
                if claimed.claim is None:
                    return self._pause_seconds if self._is_in_doubt else LOOK_SECONDS
                self._start(claimed.claim)
        except QueueUnavailable as error:
            if not self._is_away:
                log.warning("no jobs for now: %s", error)
            self._is_away = True
            return PAUSE_SECONDS * random.uniform(0.5, 1.0)  # noqa: S311
        return None

    def _tell(self, claimed: Claimed) -> None:
        self._metrics.workers_lost_total.inc(claimed.lost)
        for job_id in claimed.given_up:
            self._metrics.decode_rejected_total.labels("attempts_exhausted").inc()
            log.error("job %s is given up: worker after worker was lost", job_id)

    def _start(self, claim: Claim) -> None:
        task = asyncio.create_task(self._attend(claim), name=f"job {claim.job_id}")
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)

    async def _attend(self, claim: Claim) -> None:
        try:
            if not await self._work(claim):
                self._is_in_doubt = True
        except Exception:
            log.exception("job %s: its attempt ended without a word; the lease will", claim.job_id)

    async def _drain(self) -> None:
        log.info("draining: %d jobs under way", len(self._at_work))
        if self._at_work:
            await asyncio.wait(self._at_work, timeout=self._settings.drain_seconds)

    async def _interrupt(self) -> None:
        left = tuple(self._at_work)
        if left:
            log.warning("draining took too long: %d jobs are handed back", len(left))
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
