"""A relay that cuts connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress


class FlakyProxy:
    """Passes on what comes for a port of this machine.

    lives: for how many bytes, of both directions, each connection lasts; the ones after the last
    of them last as they like.
    """

    def __init__(self, port: int, byte_limits: Iterator[int]) -> None:
        self._port = port
        self._byte_limits = byte_limits
        self._open: set[asyncio.StreamWriter] = set()
        self._none_open = asyncio.Event()
        self._none_open.set()
        self.cut_count = 0

    def abort_connections(self) -> None:
        """Break every connection, without a word."""
        for writer in self._open:
            writer.transport.abort()
        self.cut_count += bool(self._open)

    async def handle_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One connection, from its beginning to its end."""
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except ConnectionError:
            writer.transport.abort()
            return
        pair = {writer, other_writer}
        self._open |= pair
        self._none_open.clear()
        life = _ByteBudget(next(self._byte_limits, None))
        ways = [
            asyncio.create_task(_forward(reader, other_writer, life)),
            asyncio.create_task(_forward(other_reader, writer, life)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        self.cut_count += life.is_spent
        for each in pair:
            each.transport.abort()
        await asyncio.wait(ways)
        self._open -= pair
        if not self._open:
            self._none_open.set()

    async def close(self) -> None:
        """Cut, and wait until nothing is passed on any more."""
        self.abort_connections()
        await self._none_open.wait()


class _ByteBudget:
    def __init__(self, size: int | None) -> None:
        self._remaining_bytes = size

    @property
    def is_spent(self) -> bool:
        return self._remaining_bytes == 0

    def take(self, data: bytes) -> bytes:
        """As much of the data as may still pass."""
        if self._remaining_bytes is None:
            return data
        taken = data[: self._remaining_bytes]
        self._remaining_bytes -= len(taken)
        return taken


async def _forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: _ByteBudget
) -> None:
    with suppress(ConnectionError):
        while not budget.is_spent and (data := budget.take(await reader.read(2**12))):
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def running_proxy(proxy: FlakyProxy) -> AsyncGenerator[int]:
    """Yields the port to come to."""
    server = await asyncio.start_server(proxy.handle_connection, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
        await proxy.close()
