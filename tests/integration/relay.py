"""A relay that cuts connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress


class Relay:
    """Passes on what comes for a port of this machine.

    lives: for how many bytes, of both directions, each connection lasts; the ones after the last
    of them last as they like.
    """

    def __init__(self, port: int, lives: Iterator[int]) -> None:
        self._port = port
        self._lives = lives
        self._open: set[asyncio.StreamWriter] = set()
        self._none_open = asyncio.Event()
        self._none_open.set()
        self.cuts = 0

    def cut(self) -> None:
        """Break every connection, without a word."""
        for writer in self._open:
            writer.transport.abort()
        self.cuts += bool(self._open)

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its beginning to its end."""
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except ConnectionError:
            writer.transport.abort()
            return
        pair = {writer, other_writer}
        self._open |= pair
        self._none_open.clear()
        life = _Life(next(self._lives, None))
        ways = [
            asyncio.create_task(_pass(reader, other_writer, life)),
            asyncio.create_task(_pass(other_reader, writer, life)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        self.cuts += life.is_over
        for each in pair:
            each.transport.abort()
        await asyncio.wait(ways)
        self._open -= pair
        if not self._open:
            self._none_open.set()

    async def end(self) -> None:
        """Cut, and wait until nothing is passed on any more."""
        self.cut()
        await self._none_open.wait()


class _Life:
    def __init__(self, size: int | None) -> None:
        self._left = size

    @property
    def is_over(self) -> bool:
        return self._left == 0

    def take(self, data: bytes) -> bytes:
        """As much of the data as may still pass."""
        if self._left is None:
            return data
        taken = data[: self._left]
        self._left -= len(taken)
        return taken


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, life: _Life) -> None:
    with suppress(ConnectionError):
        while not life.is_over and (data := life.take(await reader.read(2**12))):
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def relaying(relay: Relay) -> AsyncGenerator[int]:
    """Yields the port to come to."""
    server = await asyncio.start_server(relay.meet, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
        await relay.end()
