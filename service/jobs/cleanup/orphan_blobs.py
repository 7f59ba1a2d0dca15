"""Blobs that no job will ever ask for: found, doubted, and deleted."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Final

from service.domain.ports import Blob, BlobStore
from service.jobs.cleanup.store_pairing import check_pairing
from service.jobs.queue.maintenance import QueueMaintenance
from service.jobs.record import JobRecord, is_job_id
from service.settings import Settings

_BATCH_SIZE: Final = 500
_TOLERATED_UNKNOWN_JOBS: Final = 100
"""So many orphans prove nothing, even where they are more than the jobs."""

log = logging.getLogger(__name__)


class OrphanSweeper:
    """What killed gateways and workers leave: clips without a job, results nobody published.

    A blob comes before its job: an orphan is deleted only when it is older than the grace, and
    was one in an earlier sweep too. (Some stores date a blob by the begin of its upload.)
    Nothing is deleted where queue and store are not a pair, or where the unknown outnumber the
    known: then it is the queue that lacks something.
    """

    def __init__(self, maintenance: QueueMaintenance, store: BlobStore, settings: Settings) -> None:
        self._maintenance = maintenance
        self._store = store
        self._settings = settings
        self._suspects: frozenset[str] = frozenset()
        """Keys of the orphans that the sweep before this one has met."""

    async def sweep(self) -> int:
        """Delete what has been an orphan for long enough; returns how many blobs.

        Raises: QueueUnavailable, StoreUnavailable: nothing was decided.
        """
        if not await check_pairing(self._store, self._maintenance):
            self._suspects = frozenset()
            return 0
        orphans, known, unknown = await self._scan_blobs()
        if unknown > max(_TOLERATED_UNKNOWN_JOBS, known):
            self._suspects = frozenset()
            log.error(
                "blobs are not swept: of %d jobs with blobs the queue knows %d only. "
                "See 'Two that belong together' in docs/operations.md",
                *(known + unknown, known),
            )
            return 0
        due = orphans & self._suspects
        self._suspects = frozenset(orphans)
        for key in due:
            await self._store.delete(key)
        return len(due)

    async def _scan_blobs(self) -> tuple[set[str], int, int]:
        """Orphans past their grace, and how many jobs with blobs are known, and are not."""
        orphans = {
            blob.key async for blob in self._store.list("ready") if self._is_past_grace(blob)
        }
        known: set[str] = set()
        unknown: set[str] = set()
        for prefix in ("clips", "results"):
            page: list[Blob] = []
            async for blob in self._store.list(prefix):
                page.append(blob)
                if len(page) == _BATCH_SIZE:
                    orphans |= await self._find_orphans(page, known, unknown)
                    page = []
            orphans |= await self._find_orphans(page, known, unknown)
        return orphans, len(known), len(unknown)

    async def _find_orphans(
        self, page: Iterable[Blob], known: set[str], unknown: set[str]
    ) -> set[str]:
        """The orphans among listed blobs; the queue is asked after they were listed."""
        old = {blob.key: _job_id_of(blob.key) for blob in page if self._is_past_grace(blob)}
        asked = {job_id for job_id in old.values() if is_job_id(job_id)}
        if not asked:
            return set()
        records = await self._maintenance.find_records(asked)
        known.update(records)
        unknown.update(asked - records.keys())
        return {
            key
            for key, job_id in old.items()
            if job_id in asked and not _is_referenced(key, records.get(job_id))
        }

    def _is_past_grace(self, blob: Blob) -> bool:
        return time.time() - blob.modified_at > self._settings.orphan_grace_seconds


def _job_id_of(key: str) -> str:
    """`clips/<id>` and `results/<id>/<attempt>.<format>` have it in the same place."""
    return key.split("/")[1]


def _is_referenced(key: str, record: JobRecord | None) -> bool:
    if record is None:
        return False
    if key.startswith("clips/") or not record.state.is_final:
        return True
    return key.startswith(f"results/{record.id}/{record.published}.")
