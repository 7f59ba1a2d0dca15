"""Clears away what nobody will come back for: beside every gateway, for as long as it runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from itertools import count
from typing import Final

from service.domain.ports import Store
from service.errors import ServiceError
from service.jobs.orphans import Orphans
from service.jobs.record import clip_key
from service.jobs.upkeep import Upkeep
from service.settings import Settings

TEND_SECONDS: Final = 1.0
ADOPT_SECONDS: Final = 60.0
ADOPTIONS: Final = 15
"""An upgrade is over after so many minutes; each look goes through all jobs."""
RETRY_SECONDS: Final = 10.0
"""What is seldom done is tried again so soon where it failed."""
_AT_ONCE: Final = 100
_HANDS: Final = 8

log = logging.getLogger(__name__)


class Caretaker:
    """Several may be at work at once; each step may be taken twice, and again after a crash."""

    def __init__(self, upkeep: Upkeep, store: Store, settings: Settings) -> None:
        self._upkeep = upkeep
        self._store = store
        self._settings = settings
        self._orphans = Orphans(upkeep, store, settings)

    async def run(self) -> None:
        """Tend and sweep until cancelled; what fails is told and tried again."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_often(TEND_SECONDS, self.tend))
            tasks.create_task(_often(self._settings.orphan_sweep_seconds, self.sweep))
            tasks.create_task(_often(ADOPT_SECONDS, self._upkeep.adopt, range(ADOPTIONS)))

    async def tend(self) -> None:
        """What is due now: jobs past their time, blobs of removed jobs, clips past their time.

        Raises: QueueUnavailable, StoreUnavailable: what is left stays due.
        """
        while await self._upkeep.expire(_AT_ONCE) == _AT_ONCE:
            pass
        await self._work_off(self._upkeep.to_purge, self._purge)
        await self._work_off(self._upkeep.clips_due, self._drop_clip)

    async def sweep(self) -> None:
        """What killed processes have left. Raises: QueueUnavailable, StoreUnavailable."""
        if found := await self._store.sweep():
            log.info("removed %d partial files that nobody writes to", found)
        if found := await self._orphans.sweep():
            log.warning("removed %d blobs that no job knows", found)

    async def _work_off(
        self, look: Callable[[int], Awaitable[list[str]]], work: Callable[[str], Awaitable[None]]
    ) -> None:
        """Until none is left or one fails: the first alone, then several at a time."""
        while job_ids := await look(_AT_ONCE):
            await work(job_ids[0])
            for start in range(1, len(job_ids), _HANDS):
                await _all_of(map(work, job_ids[start : start + _HANDS]))

    async def _purge(self, job_id: str) -> None:
        await self._store.delete(clip_key(job_id))
        await self._store.delete_all(f"results/{job_id}")
        await self._upkeep.purged(job_id)

    async def _drop_clip(self, job_id: str) -> None:
        await self._store.delete(clip_key(job_id))
        await self._upkeep.clip_dropped(job_id)


async def _all_of(work: Iterable[Awaitable[None]]) -> None:
    """Raises what the first to fail raised, once all have ended."""
    for failure in await asyncio.gather(*work, return_exceptions=True):
        if failure is not None:
            raise failure


async def _often(
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
