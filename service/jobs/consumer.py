"""Takes jobs from the queue and keeps their leases while somebody works on them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from docket import Worker
from docket.dependencies import ExponentialRetry

from service.jobs.queue import TASK, JobQueue
from service.settings import Settings

TRIES: Final = 12
"""Times a job is tried while a part of the service is away: 2, 4, 8 ... and at most 64 s apart,
seven minutes in all. A server that loads large models anew must not cost the jobs that wait."""
FIRST_RETRY_SECONDS: Final = 2.0
LONGEST_RETRY_SECONDS: Final = 64.0
RECONNECT_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 0.1
END_SECONDS: Final = 5.0
"""What the loop gets to end once it is cancelled; handing a job back takes 2 s of it at most."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A job handed to this worker, and whether raising an error would bring it back later."""

    job_id: str
    is_last_try: bool


Work = Callable[[Delivery], Awaitable[None]]
"""What is done with a job. It must not block the event loop: the leases are renewed there."""


class Consumer:
    """A docket worker that can be drained.

    docket stops renewing leases once its loop is cancelled, so a drain first stops the intake
    (no slots) and cancels the loop only when the work is done or its time is up.
    """

    def __init__(self, queue: JobQueue, settings: Settings, work: Work) -> None:
        self._settings = settings
        self._work = work
        self._at_work: set[asyncio.Task[Any]] = set()
        queue.docket.register(self._task(), names=[TASK])
        self._worker = Worker(
            queue.docket,
            concurrency=settings.worker_concurrency,
            redelivery_timeout=timedelta(seconds=settings.redelivery_seconds),
            reconnection_delay=timedelta(seconds=RECONNECT_SECONDS),
            minimum_check_interval=timedelta(seconds=LOOK_SECONDS),
            schedule_automatic_tasks=False,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then finish what can be finished in `drain_seconds`.

        What cannot is interrupted, and goes to another worker after `redelivery_seconds`.
        """
        async with self._worker:
            loop = asyncio.create_task(self._worker.run_forever(), name="queue loop")
            stopping = asyncio.create_task(stop.wait(), name="stop signal")
            try:
                await asyncio.wait((loop, stopping), return_when=asyncio.FIRST_COMPLETED)
                if not loop.done():
                    await self._drain()
            finally:
                stopping.cancel()
                loop.cancel()
                for task in tuple(self._at_work):
                    task.cancel()
                insisting = asyncio.create_task(_insist_on_end(loop), name="queue loop's end")
        # Leaving has told docket to stop: a cancelled loop that meets a Redis that is
        # away takes that for an outage like any other, and would wait for its end.
        await insisting
        if not loop.cancelled() and (failure := loop.exception()):
            raise failure

    async def _drain(self) -> None:
        self._worker.concurrency = 0
        log.info("draining: %d jobs under way", len(self._at_work))
        try:
            async with asyncio.timeout(self._settings.drain_seconds):
                await asyncio.sleep(2 * LOOK_SECONDS)  # a read that is under way may bring one more
                while self._at_work:
                    await asyncio.wait(tuple(self._at_work))
        except TimeoutError:
            log.warning("draining took too long: %d jobs are handed back", len(self._at_work))

    def _task(self) -> Callable[..., Awaitable[None]]:
        back_off = ExponentialRetry(
            attempts=TRIES,
            minimum_delay=timedelta(seconds=FIRST_RETRY_SECONDS),
            maximum_delay=timedelta(seconds=LONGEST_RETRY_SECONDS),
        )

        async def annotate(job_id: str, retry: ExponentialRetry = back_off) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._at_work.add(task)
            try:
                await self._work(Delivery(job_id=job_id, is_last_try=retry.attempt >= TRIES))
            finally:
                self._at_work.discard(task)

        return annotate


async def _insist_on_end(loop: asyncio.Task[None]) -> None:
    """Cancel the loop again where it waits: docket says goodbye to Redis without a time-out."""
    while not (await asyncio.wait((loop,), timeout=END_SECONDS))[0]:
        log.warning("the queue loop waits for Redis: it is interrupted")
        loop.cancel()
