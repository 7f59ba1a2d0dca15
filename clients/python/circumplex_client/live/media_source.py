"""The caller's media, read across calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import suppress

from circumplex_client.live.media import MediaChunk


class MediaSource:
    """Reads one piece at a time; a call that breaks off while it waits loses none."""

    def __init__(self, media: AsyncIterable[MediaChunk]) -> None:
        self._media = aiter(media)
        self._pending_read: asyncio.Task[MediaChunk | None] | None = None
        self._is_exhausted = False

    async def read(self) -> MediaChunk | None:
        """The next piece, None at the end; raises whatever the media raise."""
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
        """Stop reading, and close what the caller wrote as a generator."""
        if self._pending_read is not None:
            self._pending_read.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._pending_read
        if isinstance(self._media, AsyncGenerator):
            await self._media.aclose()

    async def _read_next(self) -> MediaChunk | None:
        return await anext(self._media, None)
