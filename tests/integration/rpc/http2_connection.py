"""Minimal HTTP/2 client that reads and writes SETTINGS, PING and GOAWAY frames (RFC 9113)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Self

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS: Final = 4
PING: Final = 6
GOAWAY: Final = 7
ACK_FLAG: Final = 1


def encode_frame(kind: int, content: bytes, flags: int = 0) -> bytes:
    """Encode a frame of stream 0, the connection."""
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + bytes(4) + content


@dataclass(kw_only=True)
class Http2Connection:
    """A connection without calls. received_kinds: types of the frames read so far."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    received_kinds: list[int] = field(default_factory=list[int])

    @classmethod
    async def connect(cls, port: int, *, address: str = "127.0.0.1") -> Self:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
        connection = cls(reader=reader, writer=writer)
        with suppress(ConnectionError):
            writer.write(PREFACE)
            await connection.send(SETTINGS)
        return connection

    async def complete_handshake(self) -> bool:
        """Return True if the server answers the preface with SETTINGS."""
        try:
            await self.wait_for_frame(SETTINGS, 10.0)
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        await self.send(SETTINGS, flags=ACK_FLAG)
        return True

    async def ping(self, times: int = 1) -> None:
        self.writer.writelines([encode_frame(PING, bytes(8))] * times)
        await self.writer.drain()

    async def acknowledge_ping(self, ping: bytes) -> None:
        await self.send(PING, ping, flags=ACK_FLAG)

    async def wait_for_frame(self, kind: int, seconds: float, flags: int = 0) -> bytes:
        """Return the content of the next frame of a kind, with ACK or without."""
        async with asyncio.timeout(seconds):
            while True:
                head = await self.reader.readexactly(9)
                content = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
                self.received_kinds.append(head[3])
                if head[3] == kind and head[4] & ACK_FLAG == flags:
                    return content

    async def wait_for_close(self, seconds: float) -> bool:
        """Return True once the server has closed the connection; raises TimeoutError."""
        async with asyncio.timeout(seconds):
            with suppress(ConnectionError):
                while await self.reader.read(2**16):
                    continue
        return True

    async def send(self, kind: int, content: bytes = b"", flags: int = 0) -> None:
        self.writer.write(encode_frame(kind, content, flags))
        await self.writer.drain()

    def close(self) -> None:
        self.writer.close()
