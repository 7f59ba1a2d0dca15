"""Blobs that no job will ever ask for: found, doubted, and deleted."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Final

from service.domain.blob import Blob
from service.domain.ports import Store
from service.jobs.pairing import is_paired
from service.jobs.record import JobRecord, is_job_id
from service.jobs.upkeep import Upkeep
from service.settings import Settings

_AT_ONCE: Final = 500
_FEW: Final = 100
"""So many orphans prove nothing, even where they are more than the jobs."""

log = logging.getLogger(__name__)


class Orphans:
    """What killed gateways and workers leave: clips without a job, results nobody published.

    A blob comes before its job: an orphan is deleted only when it is older than the grace, and
    was one in an earlier sweep too. (Some stores date a blob by the begin of its upload.)
    Nothing is deleted where queue and store are not a pair, or where the unknown outnumber the
    known: then it is the queue that lacks something.
    """

    def __init__(self, upkeep: Upkeep, store: Store, settings: Settings) -> None:
        self._upkeep = upkeep
        self._store = store
        self._settings = settings
        self._doubted: frozenset[str] = frozenset()
        """Keys of the orphans that the sweep before this one has met."""

    async def sweep(self) -> int:
        """Delete what has been an orphan for long enough; returns how many blobs.

        Raises: QueueUnavailable, StoreUnavailable: nothing was decided.
        """
        if not await is_paired(self._store, self._upkeep):
            self._doubted = frozenset()
            return 0
        orphans, known, unknown = await self._look_around()
        if unknown > max(_FEW, known):
            self._doubted = frozenset()
            log.error(
                "blobs are not swept: of %d jobs with blobs the queue knows %d only. "
                "See 'Two that belong together' in docs/operations.md",
                *(known + unknown, known),
            )
            return 0
        due = orphans & self._doubted
        self._doubted = frozenset(orphans)
        for key in due:
            await self._store.delete(key)
        return len(due)

    async def _look_around(self) -> tuple[set[str], int, int]:
        """Orphans past their grace, and how many jobs with blobs are known, and are not."""
        orphans = {blob.key async for blob in self._store.list("ready") if self._is_old(blob)}
        known: set[str] = set()
        unknown: set[str] = set()
        for prefix in ("clips", "results"):
            page: list[Blob] = []
            async for blob in self._store.list(prefix):
                page.append(blob)
                if len(page) == _AT_ONCE:
                    orphans |= await self._judge(page, known, unknown)
                    page = []
            orphans |= await self._judge(page, known, unknown)
        return orphans, len(known), len(unknown)

    async def _judge(self, page: Iterable[Blob], known: set[str], unknown: set[str]) -> set[str]:
        """The orphans among listed blobs; the queue is asked after they were listed."""
        old = {blob.key: _job_of(blob.key) for blob in page if self._is_old(blob)}
        asked = {job_id for job_id in old.values() if is_job_id(job_id)}
        if not asked:
            return set()
        records = await self._upkeep.known(asked)
        known.update(records)
        unknown.update(asked - records.keys())
        return {
            key
            for key, job_id in old.items()
            if job_id in asked and not _is_wanted(key, records.get(job_id))
        }

    def _is_old(self, blob: Blob) -> bool:
        return time.time() - blob.modified_at > self._settings.orphan_grace_seconds


def _job_of(key: str) -> str:
    """`clips/<id>` and `results/<id>/<attempt>.<format>` have it in the same place."""
    return key.split("/")[1]


def _is_wanted(key: str, record: JobRecord | None) -> bool:
    if record is None:
        return False
    if key.startswith("clips/") or not record.state.is_final:
        return True
    return key.startswith(f"results/{record.id}/{record.published}.")
