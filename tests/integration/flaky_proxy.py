"""TCP proxy that breaks connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress


class FlakyProxy:
    """Forwards connections to a port of this machine.

    byte_limits: bytes, of both directions, after which each connection is broken; further
    connections are unlimited.
    """

    def __init__(self, port: int, byte_limits: Iterator[int]) -> None:
        self._port = port
        self._byte_limits = byte_limits
        self._open: set[asyncio.StreamWriter] = set()
        self._none_open = asyncio.Event()
        self._none_open.set()
        self.cut_count = 0

    def abort_connections(self) -> None:
        """Abort every connection."""
        for writer in self._open:
            writer.transport.abort()
        self.cut_count += bool(self._open)

    async def handle_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Forward one connection."""
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except ConnectionError:
            writer.transport.abort()
            return
        pair = {writer, other_writer}
        self._open |= pair
        self._none_open.clear()
        budget = _ByteBudget(next(self._byte_limits, None))
        directions = [
            asyncio.create_task(_forward(reader, other_writer, budget)),
            asyncio.create_task(_forward(other_reader, writer, budget)),
        ]
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        self.cut_count += budget.is_spent
        for each in pair:
            each.transport.abort()
        await asyncio.wait(directions)
        self._open -= pair
        if not self._open:
            self._none_open.set()

    async def close(self) -> None:
        """Abort every connection and wait until all have ended."""
        self.abort_connections()
        await self._none_open.wait()


class _ByteBudget:
    def __init__(self, size: int | None) -> None:
        self._remaining_bytes = size

    @property
    def is_spent(self) -> bool:
        return self._remaining_bytes == 0

    def take(self, data: bytes) -> bytes:
        """Return as much of the data as the budget allows."""
        if self._remaining_bytes is None:
            return data
        allowed = data[: self._remaining_bytes]
        self._remaining_bytes -= len(allowed)
        return allowed


async def _forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: _ByteBudget
) -> None:
    with suppress(ConnectionError):
        while not budget.is_spent and (data := budget.take(await reader.read(2**12))):
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def running_proxy(proxy: FlakyProxy) -> AsyncGenerator[int]:
    """Run a proxy; yields its port."""
    server = await asyncio.start_server(proxy.handle_connection, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
        await proxy.close()
