"""Reading of the caller's media, independent of the calls that send them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import suppress

from circumplex_client.live.media import MediaChunk


class MediaSource:
    """Reads one chunk at a time; a cancelled read loses no chunk."""

    def __init__(self, media: AsyncIterable[MediaChunk]) -> None:
        self._media = aiter(media)
        self._pending_read: asyncio.Task[MediaChunk | None] | None = None
        self._is_exhausted = False

    async def read(self) -> MediaChunk | None:
        """Return the next chunk, None at the end; raises whatever the media raise."""
        if self._is_exhausted:
            return None
        if self._pending_read is None:
            self._pending_read = asyncio.create_task(self._read_next())
        await asyncio.wait({self._pending_read})
        done, self._pending_read = self._pending_read, None
        chunk = done.result()
        self._is_exhausted = chunk is None
        return chunk

    async def close(self) -> None:
        """Stop reading; closes the caller's generator."""
        if self._pending_read is not None:
            self._pending_read.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._pending_read
        if isinstance(self._media, AsyncGenerator):
            await self._media.aclose()  # pyright: ignore[reportUnknownMemberType]  # isinstance leaves the type arguments open

    async def _read_next(self) -> MediaChunk | None:
        return await anext(self._media, None)


async def read_until_stopped(
    stop_event: asyncio.Event, media: AsyncGenerator[MediaChunk]
) -> AsyncGenerator[MediaChunk]:
    """Yield the media until they end or `stop_event` is set."""
    source, stop = MediaSource(media), asyncio.create_task(stop_event.wait())
    try:
        while not stop.done():
            read_task = asyncio.create_task(source.read())
            await asyncio.wait({read_task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not read_task.done():
                read_task.cancel()
            elif (chunk := read_task.result()) is not None:
                yield chunk
            else:
                return
    finally:
        stop.cancel()
        await source.close()
