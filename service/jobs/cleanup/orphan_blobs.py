"""Deletion of orphans: blobs in the store that no job refers to.

They are left by gateways and workers that were killed. Store and queue each hold a pairing mark, a
random id; nothing is deleted unless the two are equal.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Iterable
from typing import Final
from uuid import uuid4

from service.domain.ports import Blob, BlobStore
from service.jobs.queue.database import QueueMaintenance
from service.jobs.record import JobRecord, is_job_id
from service.settings import Settings

PAIR_KEY: Final = "pair"
"""Blob that holds the store's mark, as the `pair` key of the queue holds that of the queue."""
_BATCH_SIZE: Final = 500
_TOLERATED_UNKNOWN_JOBS: Final = 100
"""Number of unknown jobs that is tolerated even if fewer jobs are known."""

log = logging.getLogger(__name__)


class OrphanSweeper:
    """Sweeper of clips without a job and of results that were not published.

    A blob is written before its job is submitted: an orphan is deleted only if it is older than
    `orphan_grace_seconds`, and was an orphan in the previous sweep too (some stores date a blob by
    the start of its upload). Nothing is deleted if queue and store are not a pair, or if more jobs
    with blobs are unknown than known: then the queue has lost data.
    """

    def __init__(self, maintenance: QueueMaintenance, store: BlobStore, settings: Settings) -> None:
        self._maintenance = maintenance
        self._store = store
        self._settings = settings
        self._suspects: frozenset[str] = frozenset()
        """Keys of the orphans of the previous sweep."""

    async def sweep(self) -> int:
        """Delete orphans that are due; returns their number.

        Raises: QueueUnavailable, StoreUnavailable.
        """
        if not await check_pairing(self._store, self._maintenance):
            self._suspects = frozenset()
            return 0
        orphans, known, unknown = await self._scan_blobs()
        if unknown > max(_TOLERATED_UNKNOWN_JOBS, known):
            self._suspects = frozenset()
            log.error(
                "blobs are not swept: of %d jobs with blobs the queue knows %d only. "
                "See docs/how-to/s3-storage.md",
                *(known + unknown, known),
            )
            return 0
        due = orphans & self._suspects
        self._suspects = frozenset(orphans)
        for key in due:
            await self._store.delete(key)
        return len(due)

    async def _scan_blobs(self) -> tuple[set[str], int, int]:
        """Return old orphans, and the numbers of known and unknown jobs with blobs."""
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
        """Find the orphans of a page; the queue is read after the blobs were listed."""
        old = {blob.key: _job_id_of(blob.key) for blob in page if self._is_past_grace(blob)}
        job_ids = {job_id for job_id in old.values() if is_job_id(job_id)}
        if not job_ids:
            return set()
        records = await self._maintenance.find_records(job_ids)
        known.update(records)
        unknown.update(job_ids - records.keys())
        return {
            key
            for key, job_id in old.items()
            if job_id in job_ids and not _is_referenced(key, records.get(job_id))
        }

    def _is_past_grace(self, blob: Blob) -> bool:
        return time.time() - blob.modified_at > self._settings.orphan_grace_seconds


def _job_id_of(key: str) -> str:
    """Return the job id of a key `clips/<id>` or `results/<id>/<attempt>.<format>`."""
    return key.split("/")[1]


def _is_referenced(key: str, record: JobRecord | None) -> bool:
    if record is None:
        return False
    if key.startswith("clips/") or not record.state.is_final:
        return True
    return key.startswith(f"results/{record.id}/{record.published}.")


async def check_pairing(store: BlobStore, maintenance: QueueMaintenance) -> bool:
    """Return whether store and queue hold the same mark; marks a store that has none.

    A Redis that has lost its data has no mark, and a Redis of another deployment has a different
    one: neither knows the jobs of this store.

    Raises: QueueUnavailable, StoreUnavailable, StoreFull.
    """
    store_mark = await _read_store_mark(store)
    queue_mark = await maintenance.read_pairing_mark()
    if store_mark is None:
        mark = queue_mark or await maintenance.claim_pairing_mark(uuid4().hex)
        await store.put(PAIR_KEY, _single_chunk(mark))
        return False  # another queue may set its mark at the same time: the next call decides
    if store_mark != queue_mark:
        log.error(
            "blobs are not swept: this blob store belongs to another queue, or Redis has lost "
            "its data; see docs/how-to/s3-storage.md"
        )
    return store_mark == queue_mark


async def _read_store_mark(store: BlobStore) -> str | None:
    try:
        content = await store.get(PAIR_KEY)
    except KeyError:
        return None
    return b"".join([chunk async for chunk in content]).decode(errors="replace")


async def _single_chunk(mark: str) -> AsyncIterator[bytes]:
    yield mark.encode()
