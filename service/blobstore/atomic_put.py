"""One way into every store: all of a blob, or nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from typing import Any, Final

import obstore
from obstore.store import ObjectStore

from service.blobstore.error_translation import write_errors_translated
from service.blobstore.upload_stream import UploadStream

_PARTS_IN_FLIGHT: Final = 2
_ROLLBACK_SECONDS: Final = 10.0

log = logging.getLogger(__name__)


async def put_atomically(
    store: ObjectStore, key: str, content: AsyncIterator[bytes], *, part_bytes: int
) -> int:
    """Write `content` under its key once it is whole; returns its size in bytes.

    What fits one part goes in one request. At most a few parts are in memory.
    Raises: StoreFull, StoreUnavailable; what `content` raises is raised again, as it was.
    """
    counted = UploadStream(content)
    start = await counted.read_head(part_bytes)
    with write_errors_translated():
        sending = asyncio.ensure_future(_start_put(store, key, start, counted, part_bytes))
        try:
            await asyncio.shield(sending)
        except asyncio.CancelledError:
            await counted.stop()
            await _roll_back(store, key, sending)
            raise
        except Exception:
            if counted.error is None:
                raise
    if counted.error is not None:
        raise counted.error
    return counted.size_bytes


def _start_put(
    store: ObjectStore, key: str, start: bytes, content: UploadStream, part_bytes: int
) -> Awaitable[Any]:
    if content.is_exhausted:
        return obstore.put_async(store, key, start, use_multipart=False)
    return obstore.put_async(
        store,
        key,
        content.chunks(),
        use_multipart=True,
        chunk_size=part_bytes,
        max_concurrency=_PARTS_IN_FLIGHT,
    )


async def _roll_back(store: ObjectStore, key: str, put_task: asyncio.Future[Any]) -> None:
    """The library takes its parts back once its content breaks off; a whole blob is taken back."""
    await asyncio.wait([put_task], timeout=_ROLLBACK_SECONDS)
    if not put_task.done():
        log.warning("what was written of %s may remain in the blob store", key)
        put_task.cancel()
    elif put_task.exception() is None:
        await asyncio.wait([asyncio.ensure_future(obstore.delete_async(store, key))])
