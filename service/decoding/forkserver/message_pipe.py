"""Reading end of a pipe of messages: each is read into a buffer of its own, of known size.

asyncio's StreamReader would copy every byte twice more, and read in pieces of 64 KiB.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import suppress
from typing import BinaryIO, Final

PIPE_BYTES: Final = 1 << 20
"""Capacity of a pipe, Linux's limit for processes without privileges: a chunk of a clip with one
face (1.3 MB) passes in two pieces, and its writer seldom waits."""


def enlarge_pipe(pipe: BinaryIO) -> None:
    """Set the capacity of a pipe, unless the user's pipes have too many pages already."""
    with suppress(OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


class MessagePipe:
    """Reads a pipe that somebody else opens and closes; one read at a time."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._handle = pipe.fileno()
        self._readable: asyncio.Future[None] | None = None
        os.set_blocking(self._handle, False)

    async def readexactly(self, size: int) -> memoryview:
        """Read `size` bytes into a new buffer; a cancelled read loses what it has read.

        Raises: asyncio.IncompleteReadError: the pipe has ended, or was closed here.
        """
        buffer = bytearray(size)
        view, done = memoryview(buffer), 0
        while done < size:
            try:
                count = os.readv(self._handle, [view[done:]])
            except BlockingIOError:
                await self._wait_until_readable()
                continue
            if not count:
                raise asyncio.IncompleteReadError(bytes(view[:done]), size)
            done += count
        return view.toreadonly()

    def close(self) -> None:
        """Cancel a read that waits; the pipe may be closed afterwards."""
        if self._readable is not None:
            self._stop_waiting()

    async def _wait_until_readable(self) -> None:
        loop = asyncio.get_running_loop()
        readable = self._readable = loop.create_future()
        loop.add_reader(self._handle, _resolve, readable)
        try:
            await readable
        finally:
            if self._readable is readable:
                self._stop_waiting()

    def _stop_waiting(self) -> None:
        readable, self._readable = self._readable, None
        asyncio.get_running_loop().remove_reader(self._handle)
        if readable is not None:
            readable.cancel()


def _resolve(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)
