"""Small TCP load balancer that sends connections to ready gateways only."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress

import httpx

READINESS_POLL_SECONDS = 0.1


class Balancer:
    """Sends each new connection to the next gateway that is ready.

    A gateway that does not accept the connection has not seen it: the next one gets it. Nothing
    that was sent is ever sent again.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self._ready = dict.fromkeys(ports, False)
        self._round_robin = itertools.cycle(ports)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def ready_count(self) -> int:
        return sum(self._ready.values())

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[str]:
        watches = [asyncio.create_task(self._poll_readiness(port)) for port in self._ready]
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for task in (*watches, *self._tasks):
                task.cancel()
            await asyncio.gather(*watches, *self._tasks, return_exceptions=True)

    async def _poll_readiness(self, port: int) -> None:
        url = f"http://127.0.0.1:{port}/health/ready"
        while True:
            try:
                async with httpx.AsyncClient(timeout=5.0) as client:
                    self._ready[port] = (await client.get(url)).is_success
            except httpx.TransportError:
                self._ready[port] = False
            await asyncio.sleep(READINESS_POLL_SECONDS)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        back_reader, back_writer = await self._connect()
        try:
            await asyncio.gather(_pump(reader, back_writer), _pump(back_reader, writer))
        finally:
            back_writer.close()
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for _ in range(2 * len(self._ready)):
            port = next(self._round_robin)
            if self._ready[port]:
                with suppress(ConnectionRefusedError):
                    return await asyncio.open_connection("127.0.0.1", port)
        raise ConnectionRefusedError("no gateway is ready")


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while part := await reader.read(2**16):
            writer.write(part)
            await writer.drain()
        writer.write_eof()
