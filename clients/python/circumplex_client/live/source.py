"""The caller's media, read across calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import suppress

from circumplex_client.live.media import Piece


class Source:
    """Reads one piece at a time; a call that breaks off while it waits loses none."""

    def __init__(self, media: AsyncIterable[Piece]) -> None:
        self._media = aiter(media)
        self._waiting: asyncio.Task[Piece | None] | None = None
        self._is_over = False

    async def next(self) -> Piece | None:
        """The next piece, None at the end; raises whatever the media raise."""
        if self._is_over:
            return None
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._read())
        await asyncio.wait({self._waiting})
        done, self._waiting = self._waiting, None
        piece = done.result()
        self._is_over = piece is None
        return piece

    async def close(self) -> None:
        """Stop reading, and close what the caller wrote as a generator."""
        if self._waiting is not None:
            self._waiting.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._waiting
        if isinstance(self._media, AsyncGenerator):
            await self._media.aclose()

    async def _read(self) -> Piece | None:
        return await anext(self._media, None)
