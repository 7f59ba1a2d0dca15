"""The bytes of a blob on their way into a store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any


class UploadStream:
    """Passes content on; remembers how much it was, and what broke it."""

    def __init__(self, content: AsyncIterator[bytes]) -> None:
        self._content = content
        self._head = b""
        self._is_stopped = False
        self._read_task: asyncio.Task[Any] | None = None
        self.size_bytes = 0
        self.is_exhausted = False
        self.error: Exception | None = None

    async def read_head(self, min_bytes: int) -> bytes:
        """The first bytes: so many or a few more, or all where there are fewer."""
        start = bytearray()
        while len(start) < min_bytes and (chunk := await self._read_next()) is not None:
            start += chunk
        self._head = bytes(start)
        return self._head

    async def chunks(self) -> AsyncGenerator[bytes]:
        """All of it, what was taken included."""
        try:
            yield self._head
            self._head = b""
            while not self._is_stopped:
                self._read_task = asyncio.current_task()  # the library reads in tasks of its own
                chunk = await self._read_next()
                if chunk is None:
                    return
                yield chunk
        except Exception as failure:
            self.error = failure
            raise
        raise asyncio.CancelledError

    async def stop(self) -> None:
        """Break off: a read under way ends, and there will be no other."""
        self._is_stopped = True
        if self._read_task is not None and not self._read_task.done():
            self._read_task.cancel()
            await asyncio.wait([self._read_task])

    async def _read_next(self) -> bytes | None:
        chunk = await anext(self._content, None)
        self.is_exhausted = chunk is None
        self.size_bytes += len(chunk or b"")
        return chunk
