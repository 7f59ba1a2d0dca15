"""Janitor: removal of expired jobs, clips and orphans, in the background of every gateway."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from service.domain.ports import BlobStore
from service.errors import ServiceError
from service.jobs.cleanup.orphan_blobs import OrphanSweeper
from service.jobs.queue.database import QueueMaintenance
from service.jobs.record import clip_key
from service.settings import Settings

RUN_DUE_SECONDS: Final = 1.0
"""Interval of the removal of expired jobs and clips."""
FAILURE_RETRY_SECONDS: Final = 10.0
"""Delay after a failure, where the regular interval is longer."""
_BATCH_SIZE: Final = 100
_CONCURRENCY: Final = 8

log = logging.getLogger(__name__)


class Janitor:
    """Janitor of one queue and store; several may run at once, and all steps are idempotent."""

    def __init__(self, maintenance: QueueMaintenance, store: BlobStore, settings: Settings) -> None:
        self._maintenance = maintenance
        self._store = store
        self._settings = settings
        self._orphan_sweeper = OrphanSweeper(maintenance, store, settings)

    async def run(self) -> None:
        """Run both periodic tasks until cancelled; failures are logged and retried."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_run_periodically(RUN_DUE_SECONDS, self.run_due))
            tasks.create_task(_run_periodically(self._settings.orphan_sweep_seconds, self.sweep))

    async def run_due(self) -> None:
        """Remove expired jobs, then the blobs of removed jobs and expired clips.

        Raises: QueueUnavailable, StoreUnavailable: the rest stays due.
        """
        while await self._maintenance.expire_jobs(_BATCH_SIZE) == _BATCH_SIZE:
            pass
        await self._process_all(self._maintenance.list_purgeable_jobs, self._purge)
        await self._process_all(self._maintenance.list_expired_clips, self._drop_clip)

    async def sweep(self) -> None:
        """Delete remains of killed processes; raises QueueUnavailable or StoreUnavailable."""
        if found := await self._store.sweep():
            log.info("removed %d abandoned partial files", found)
        if found := await self._orphan_sweeper.sweep():
            log.warning("removed %d blobs without a job", found)

    async def _process_all(
        self,
        fetch: Callable[[int], Awaitable[list[str]]],
        process: Callable[[str], Awaitable[None]],
    ) -> None:
        """Process all jobs until one fails: of each batch one alone, then several at a time."""
        while job_ids := await fetch(_BATCH_SIZE):
            await process(job_ids[0])
            for start in range(1, len(job_ids), _CONCURRENCY):
                await _gather_all(map(process, job_ids[start : start + _CONCURRENCY]))

    async def _purge(self, job_id: str) -> None:
        await self._store.delete(clip_key(job_id))
        await self._store.delete_all(f"results/{job_id}")
        await self._maintenance.mark_purged(job_id)

    async def _drop_clip(self, job_id: str) -> None:
        await self._store.delete(clip_key(job_id))
        await self._maintenance.mark_clip_dropped(job_id)


async def _gather_all(work: Iterable[Awaitable[None]]) -> None:
    """Await all, then raise the first error."""
    for failure in await asyncio.gather(*work, return_exceptions=True):
        if failure is not None:
            raise failure


async def _run_periodically(interval_seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` forever; a failure is logged once, until it ends or changes."""
    last_failure = ""
    while True:
        wait_seconds = interval_seconds
        try:
            await work()
            last_failure = ""
        except ServiceError as error:
            if last_failure != str(error):
                last_failure = str(error)
                log.warning("cleanup is delayed: %s", last_failure)
            wait_seconds = min(interval_seconds, FAILURE_RETRY_SECONDS)
        except Exception:
            log.exception("cleanup failed")
        await asyncio.sleep(wait_seconds)
