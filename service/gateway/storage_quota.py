"""Storage quota of a caller, and the bytes of its uploads that are under way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from service.domain.caller import Caller
from service.domain.ports import BlobStore
from service.jobs.queue.job_queue import JobQueue, stored_bytes_error
from service.settings import Settings

BUCKET_CAPACITY_BYTES: Final = 256 * 2**30
"""Assumed capacity of a bucket where `store_budget_bytes` is unset."""


async def with_storage_quota(
    caller: Caller, settings: Settings, job_queue: JobQueue, store: BlobStore
) -> Caller:
    """Return the caller with a limit of stored bytes, unless one may use the whole store.

    A caller without one of its own gets `client_share` of what the store can hold: its budget, or
    the bytes of all clips and results and those that are free.

    Raises: QueueUnavailable, StoreUnavailable.
    """
    if caller.limits.stored_bytes is not None or settings.client_share >= 1:
        return caller
    free_bytes = await store.measure_free_bytes()
    capacity_bytes = BUCKET_CAPACITY_BYTES
    if free_bytes is not None:
        capacity_bytes = await job_queue.measure_stored_bytes() + free_bytes
    if settings.store_budget_bytes is not None:
        budget_bytes = settings.store_budget_bytes
        capacity_bytes = budget_bytes if free_bytes is None else min(capacity_bytes, budget_bytes)
    stored_bytes = round(capacity_bytes * settings.client_share)
    return replace(caller, limits=replace(caller.limits, stored_bytes=stored_bytes))


class PendingUploads:
    """Bytes of the uploads under way, by client: together they may not exceed its quota."""

    def __init__(self) -> None:
        self._pending_bytes: Counter[str] = Counter()

    @property
    def pending_bytes(self) -> int:
        """Bytes of all uploads under way."""
        return self._pending_bytes.total()

    @contextmanager
    def track(self, caller: Caller, stored_bytes: int) -> Generator[Callable[[int], None]]:
        """Count one upload while the context lasts; yields what counts its next bytes.

        Args: stored_bytes: of the clips and results that the caller has already.
        Raises, counting: QuotaExceeded: the caller's uploads exceed what its quota leaves.
        """
        quota, client_id, size_bytes = caller.limits.stored_bytes, caller.client_id, 0

        def count(added_bytes: int) -> None:
            nonlocal size_bytes
            size_bytes += added_bytes
            self._pending_bytes[client_id] += added_bytes
            if quota is not None and stored_bytes + self._pending_bytes[client_id] > quota:
                raise stored_bytes_error(quota)

        try:
            yield count
        finally:
            self._pending_bytes[client_id] -= size_bytes
            if not self._pending_bytes[client_id]:
                del self._pending_bytes[client_id]
