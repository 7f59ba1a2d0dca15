"""One way into every store: all of a blob, or nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from typing import Any, Final

import obstore
from obstore.store import ObjectStore

from service.store.content import Content
from service.store.faults import writing

_PARTS_IN_FLIGHT: Final = 2
_UNDO_SECONDS: Final = 10.0

log = logging.getLogger(__name__)


async def send(
    store: ObjectStore, key: str, content: AsyncIterator[bytes], *, part_bytes: int
) -> int:
    """Write `content` under its key once it is whole; returns its size in bytes.

    What fits one part goes in one request. At most a few parts are in memory.
    Raises: StoreFull, StoreUnavailable; what `content` raises is raised again, as it was.
    """
    counted = Content(content)
    start = await counted.take(part_bytes)
    with writing():
        sending = asyncio.ensure_future(_request(store, key, start, counted, part_bytes))
        try:
            await asyncio.shield(sending)
        except asyncio.CancelledError:
            await counted.stop()
            await _undo(store, key, sending)
            raise
        except Exception:
            if counted.failure is None:
                raise
    if counted.failure is not None:
        raise counted.failure
    return counted.size_bytes


def _request(
    store: ObjectStore, key: str, start: bytes, content: Content, part_bytes: int
) -> Awaitable[Any]:
    if content.is_over:
        return obstore.put_async(store, key, start, use_multipart=False)
    return obstore.put_async(
        store,
        key,
        content.chunks(),
        use_multipart=True,
        chunk_size=part_bytes,
        max_concurrency=_PARTS_IN_FLIGHT,
    )


async def _undo(store: ObjectStore, key: str, sending: asyncio.Future[Any]) -> None:
    """The library takes its parts back once its content breaks off; a whole blob is taken back."""
    await asyncio.wait([sending], timeout=_UNDO_SECONDS)
    if not sending.done():
        log.warning("what was written of %s may remain in the blob store", key)
        sending.cancel()
    elif sending.exception() is None:
        await asyncio.wait([asyncio.ensure_future(obstore.delete_async(store, key))])
