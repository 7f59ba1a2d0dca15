"""Whether this Redis is the one that knows the blobs of this store."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Final
from uuid import uuid4

from service.domain.ports import BlobStore
from service.jobs.queue.maintenance import QueueMaintenance

PAIR_KEY: Final = "pair"
"""The blob that holds the mark which the queue's `pair` key holds too."""

log = logging.getLogger(__name__)


async def check_pairing(store: BlobStore, maintenance: QueueMaintenance) -> bool:
    """Whether store and queue bear the same mark; the first queue that asks leaves its own.

    A Redis that has lost everything bears none, another one bears another: what they know
    says nothing about this store.
    Raises: QueueUnavailable, StoreUnavailable, StoreFull.
    """
    of_store, of_queue = await _read_store_mark(store), await maintenance.read_pairing_mark()
    if of_store is None:
        mark = of_queue or await maintenance.claim_pairing_mark(uuid4().hex)
        await store.put(PAIR_KEY, _single_chunk(mark))
        return False  # another queue may have left its mark meanwhile: the next time will tell
    if of_store != of_queue:
        log.error(
            "blobs are not swept: this blob store belongs to another queue, or Redis has lost "
            "its data. See 'Two that belong together' in docs/operations.md"
        )
    return of_store == of_queue


async def _read_store_mark(store: BlobStore) -> str | None:
    try:
        content = await store.get(PAIR_KEY)
    except KeyError:
        return None
    return b"".join([chunk async for chunk in content]).decode(errors="replace")


async def _single_chunk(mark: str) -> AsyncIterator[bytes]:
    yield mark.encode()
