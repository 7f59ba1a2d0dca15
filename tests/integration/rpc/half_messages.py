"""Raw HTTP/2 client of one gRPC call that announces a large message and sends a part of it."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, field
from typing import Final, Self

from tests.integration.rpc.http2_connection import ACK_FLAG, PING, PREFACE, SETTINGS

DATA: Final = 0
HEADERS: Final = 1
RST_STREAM: Final = 3
WINDOW_UPDATE: Final = 8
END_HEADERS_FLAG: Final = 4
INITIAL_WINDOW_SETTING: Final = 4
DEFAULT_WINDOW: Final = 65_535
CALL_STREAM: Final = 1
PREFIX_BYTES: Final = 5
"""gRPC's bytes before a message: a flag and the size."""
MESSAGE_BYTES: Final = 8 * 2**20 - 100
PIECE_BYTES: Final = 16_000


def encode_stream_frame(kind: int, stream: int, content: bytes, flags: int = 0) -> bytes:
    head = len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + content


def encode_headers(**headers: str) -> bytes:
    """Encode header fields as HPACK literals without indexing (RFC 7541, 6.2.2)."""
    fields = {":method": "POST", ":scheme": "http", ":authority": "test", "te": "trailers"}
    fields |= {"content-type": "application/grpc", **headers}
    return b"".join(
        b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in fields.items()
    )


@dataclass(kw_only=True)
class HalfMessage:
    """A call of which the server lets `sent_bytes` of its only message pass; never half-closed."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    sent_bytes: int = 0
    has_ended: bool = False
    trailers: bytes = b""
    _windows: dict[int, int] = field(
        default_factory=lambda: dict.fromkeys((0, CALL_STREAM), DEFAULT_WINDOW - PREFIX_BYTES)
    )
    _initial_window: int = DEFAULT_WINDOW

    @classmethod
    async def send(
        cls, port: int, path: str, *, address: str = "127.0.0.1", token: str | None = None
    ) -> Self:
        """Open a call from a loopback address; its message is sent by `run`."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
        headers = {":path": path}
        if token is not None:
            headers["x-api-key"] = token
        writer.write(PREFACE + encode_stream_frame(SETTINGS, 0, b""))
        writer.write(
            encode_stream_frame(HEADERS, CALL_STREAM, encode_headers(**headers), END_HEADERS_FLAG)
        )
        writer.write(encode_stream_frame(DATA, CALL_STREAM, struct.pack(">BI", 0, MESSAGE_BYTES)))
        return cls(reader=reader, writer=writer)

    async def run(self) -> None:
        """Send all but the last byte, as the server allows, until the call ends."""
        try:
            while not self.has_ended:
                self._send_allowed()
                await self._handle_frame()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.has_ended = True

    def close(self) -> None:
        self.writer.close()

    def _send_allowed(self) -> None:
        rest = MESSAGE_BYTES - 1 - self.sent_bytes
        while (size := min(*self._windows.values(), rest, PIECE_BYTES)) > 0:
            self.writer.write(encode_stream_frame(DATA, CALL_STREAM, bytes(size)))
            self.sent_bytes += size
            rest -= size
            for stream in self._windows:
                self._windows[stream] -= size

    async def _handle_frame(self) -> None:
        head = await self.reader.readexactly(9)
        content = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
        if kind == SETTINGS and not flags & ACK_FLAG:
            for name, value in struct.iter_unpack(">HI", content):
                if name == INITIAL_WINDOW_SETTING:
                    self._windows[CALL_STREAM] += value - self._initial_window
                    self._initial_window = value
            self.writer.write(encode_stream_frame(SETTINGS, 0, b"", ACK_FLAG))
        elif kind == PING and not flags & ACK_FLAG:
            self.writer.write(encode_stream_frame(PING, 0, content, ACK_FLAG))
        elif kind == WINDOW_UPDATE:
            self._windows[stream] += int.from_bytes(content, "big")
        elif kind == HEADERS:
            self.trailers += content
        if kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & ACK_FLAG):
            self.has_ended = True  # END_STREAM has the value of ACK
