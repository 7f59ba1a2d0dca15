"""The bytes of a blob on their way into a store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any


class Content:
    """Passes content on; remembers how much it was, and what broke it."""

    def __init__(self, content: AsyncIterator[bytes]) -> None:
        self._content = content
        self._start = b""
        self._is_stopped = False
        self._reading: asyncio.Task[Any] | None = None
        self.size_bytes = 0
        self.is_over = False
        self.failure: Exception | None = None

    async def take(self, min_bytes: int) -> bytes:
        """The first bytes: so many or a few more, or all where there are fewer."""
        start = bytearray()
        while len(start) < min_bytes and (chunk := await self._next()) is not None:
            start += chunk
        self._start = bytes(start)
        return self._start

    async def chunks(self) -> AsyncGenerator[bytes]:
        """All of it, what was taken included."""
        try:
            yield self._start
            self._start = b""
            while not self._is_stopped:
                self._reading = asyncio.current_task()  # the library reads in tasks of its own
                chunk = await self._next()
                if chunk is None:
                    return
                yield chunk
        except Exception as failure:
            self.failure = failure
            raise
        raise asyncio.CancelledError

    async def stop(self) -> None:
        """Break off: a read under way ends, and there will be no other."""
        self._is_stopped = True
        if self._reading is not None and not self._reading.done():
            self._reading.cancel()
            await asyncio.wait([self._reading])

    async def _next(self) -> bytes | None:
        chunk = await anext(self._content, None)
        self.is_over = chunk is None
        self.size_bytes += len(chunk or b"")
        return chunk
