"""Clears away what nobody will come back for: beside every gateway, for as long as it runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from itertools import count
from typing import Final

from service.domain.ports import BlobStore
from service.errors import ServiceError
from service.jobs.cleanup.orphan_blobs import OrphanSweeper
from service.jobs.queue.maintenance import QueueMaintenance
from service.jobs.record import clip_key
from service.settings import Settings

RUN_DUE_SECONDS: Final = 1.0
MIGRATION_SECONDS: Final = 60.0
MIGRATION_RUNS: Final = 15
"""An upgrade is over after so many minutes; each look goes through all jobs."""
RETRY_SECONDS: Final = 10.0
"""What is seldom done is tried again so soon where it failed."""
_BATCH_SIZE: Final = 100
_CONCURRENCY: Final = 8

log = logging.getLogger(__name__)


class Janitor:
    """Several may be at work at once; each step may be taken twice, and again after a crash."""

    def __init__(self, maintenance: QueueMaintenance, store: BlobStore, settings: Settings) -> None:
        self._maintenance = maintenance
        self._store = store
        self._settings = settings
        self._orphan_sweeper = OrphanSweeper(maintenance, store, settings)

    async def run(self) -> None:
        """Tend and sweep until cancelled; what fails is told and tried again."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_run_periodically(RUN_DUE_SECONDS, self.run_due))
            tasks.create_task(_run_periodically(self._settings.orphan_sweep_seconds, self.sweep))
            tasks.create_task(
                _run_periodically(
                    MIGRATION_SECONDS,
                    self._maintenance.migrate_version_1_jobs,
                    range(MIGRATION_RUNS),
                )
            )

    async def run_due(self) -> None:
        """What is due now: jobs past their time, blobs of removed jobs, clips past their time.

        Raises: QueueUnavailable, StoreUnavailable: what is left stays due.
        """
        while await self._maintenance.expire_jobs(_BATCH_SIZE) == _BATCH_SIZE:
            pass
        await self._process_all(self._maintenance.list_purgeable_jobs, self._purge)
        await self._process_all(self._maintenance.list_expired_clips, self._drop_clip)

    async def sweep(self) -> None:
        """What killed processes have left. Raises: QueueUnavailable, StoreUnavailable."""
        if found := await self._store.sweep():
            log.info("removed %d partial files that nobody writes to", found)
        if found := await self._orphan_sweeper.sweep():
            log.warning("removed %d blobs that no job knows", found)

    async def _process_all(
        self,
        fetch: Callable[[int], Awaitable[list[str]]],
        process: Callable[[str], Awaitable[None]],
    ) -> None:
        """Until none is left or one fails: the first alone, then several at a time."""
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
    """Raises what the first to fail raised, once all have ended."""
    for failure in await asyncio.gather(*work, return_exceptions=True):
        if failure is not None:
            raise failure


async def _run_periodically(
    pause_seconds: float,
    work: Callable[[], Awaitable[object]],
    times: Iterable[int] | None = None,
) -> None:
    """Again and again, or so many times; a failure is told once, until it is over or another."""
    told = ""
    for _ in count() if times is None else times:
        wait_seconds = pause_seconds
        try:
            await work()
            told = ""
        except ServiceError as error:
            if told != str(error):
                told = str(error)
                log.warning("clearing away waits: %s", told)
            wait_seconds = min(pause_seconds, RETRY_SECONDS)
        except Exception:
            log.exception("clearing away met a defect")
        await asyncio.sleep(wait_seconds)
