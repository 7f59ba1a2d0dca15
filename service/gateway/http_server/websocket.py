"""WebSocket connection: uvicorn's, with the bounds of the other connections of the gateway.

uvicorn reads one message at a time. This adds bounds on the size and fragments of a message,
deadlines for unread responses and silent clients, and notices a client that disconnects while
reading is paused.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.exceptions import ProtocolError, SecurityError
from websockets.frames import DATA_OPCODES, CloseCode, Frame
from websockets.http11 import Response
from websockets.server import ServerProtocol
from websockets.typing import StatusLike

from service.errors import HeadTooLarge, RequestMalformed
from service.gateway.http_server.limits import (
    ConnectionLimiter,
    LimitedConnection,
    WriteStallTimer,
    error_headers_and_body,
    error_response,
)
from service.gateway.http_server.read_size import AdaptiveReadSize
from service.gateway.rest.websocket_exchange import DISCONNECTED_KEY
from service.gateway.rest.websocket_messages import MAX_TEXT_LENGTH, MEDIA_HEADER
from service.settings import Settings

PING_INTERVAL_SECONDS: Final = 20.0
"""Interval of pings to the client."""
CLIENT_TIMEOUT_SECONDS: Final = 60.0
"""Silence, without an answer to a ping, after which a client counts as lost."""
MAX_UNREAD_PONG_BYTES: Final = 2**16
"""Unread answers to pings at which a client is disconnected."""
NOTSENT_LOWAT_BYTES: Final = 2**15
"""Unsent bytes that the kernel buffers (TCP_NOTSENT_LOWAT), so that stalls are noticed here."""
MAX_READ_BYTES: Final = 2**14
"""Maximum length of one read."""
MAX_FRAMES: Final = 64
"""Frames in one read above which the next read is short."""
MAX_FRAGMENTS: Final = 1024
"""Fragments of one message."""


class BoundedWebSocket(LimitedConnection, WebSocketsSansIOProtocol, asyncio.BufferedProtocol):
    """One WebSocket; takes the transport of a connection that is upgraded."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limiter: ConnectionLimiter,
        settings: Settings,
    ) -> None:
        self._disconnected = asyncio.Event()
        super().__init__(
            config, server_state, {**app_state, DISCONNECTED_KEY: self._disconnected}, _loop
        )
        self.logger = logging.getLogger("uvicorn.access")  # lines contain query strings
        self._read_size = AdaptiveReadSize(max_bytes=MAX_READ_BYTES, max_pieces=MAX_FRAMES)
        max_bytes = settings.max_stream_message_bytes + MEDIA_HEADER.size
        self.conn = self._frame_parser = BoundedServerProtocol(max_bytes)
        self.limiter = limiter
        self.write_stall_timer = WriteStallTimer(settings.response_stall_seconds)
        self._settings = settings
        self._last_received_at = self.loop.time()

    # lifetime

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the place of the upgraded connection; always busy, so never evicted."""
        super().connection_made(transport)
        self.limiter.admit(self)
        self.limiter.mark_busy(self)
        self.transport.set_write_buffer_limits(0)  # one message at a time
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family != socket.AF_UNIX:
            with suppress(OSError):  # the client may have closed already
                option = socket.TCP_NOTSENT_LOWAT
                connection.setsockopt(socket.IPPROTO_TCP, option, NOTSENT_LOWAT_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        """Notify the application, and free the connection's place."""
        self._disconnected.set()
        self.limiter.release(self)
        super().connection_lost(exc)

    def check_deadlines(self, now_seconds: float) -> None:
        """End a connection that is stalled, silent, or closed by its client."""
        if self.write_stall_timer.is_overdue(self.transport, now_seconds):
            self.abort("answer_stalled")
        elif self.read_paused:
            self._last_received_at = now_seconds  # reading is paused
            if self.has_peer_closed():
                self.transport.abort()
        elif now_seconds > self._last_received_at + CLIENT_TIMEOUT_SECONDS:
            self.abort("client_timeout")

    def shutdown(self) -> None:
        """Close when `drain_seconds` are over: a draining stream ends its WebSocket itself."""
        if self.handshake_complete and not self.close_sent:
            self.loop.call_later(self._settings.drain_seconds, self._close_if_open)
        else:
            super().shutdown()

    def _close_if_open(self) -> None:
        if not (self.disconnected or self.transport.is_closing()):
            super().shutdown()

    # messages

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - a hint
        """Lend the transport a buffer, as long as its next read may be."""
        return self.limiter.read_buffer[: self._read_size.next_bytes]

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        self.data_received(bytes(self.limiter.read_buffer[:nbytes]))
        self._read_size.pieces = self._frame_parser.take_frame_count()
        self._read_size.adapt()

    def data_received(self, data: bytes) -> None:
        """Parse; a handshake that cannot be parsed is refused with a problem document."""
        self._last_received_at = self.loop.time()
        super().data_received(data)
        handshake_error = self.conn.handshake_exc
        if handshake_error is not None and not self.handshake_initiated:
            is_large = isinstance(handshake_error, SecurityError)
            error = HeadTooLarge() if is_large else RequestMalformed(str(handshake_error)[:200])
            self.transport.write(error_response(error))
            self.transport.close()

    def send_receive_event_to_app(self) -> None:
        """Hand a whole message to the application; text that is not UTF-8 ends the connection."""
        if self.curr_msg_data_type == "text" and not _is_utf8(b"".join(self.frames)):
            self.conn.send_close(CloseCode.INVALID_DATA)
            self.handle_parser_exception()
        else:
            super().send_receive_event_to_app()

    def handle_ping(self) -> None:
        """Answer a ping, unless the client leaves too many answers unread."""
        if self.transport.get_write_buffer_size() > MAX_UNREAD_PONG_BYTES:
            self.abort("answer_stalled")
        else:
            super().handle_ping()


class BoundedServerProtocol(ServerProtocol):
    """Bounds messages: the first, a text, by MAX_TEXT_LENGTH; later ones by `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        # a character takes up to four bytes
        super().__init__(max_size=4 * MAX_TEXT_LENGTH, logger=logging.getLogger("uvicorn.access"))
        self._max_bytes = max_bytes
        self._fragments = 0
        self._frame_count = 0

    def reject(self, status: StatusLike, text: str) -> Response:  # noqa: ARG002 - always 400
        """Return the response to an invalid handshake, as a problem document."""
        headers, body = error_headers_and_body(RequestMalformed(text.strip()))
        response = super().reject(RequestMalformed.http_status, "")
        return replace(response, headers=Headers(headers), body=body)

    def take_frame_count(self) -> int:
        """Return the number of frames since the last call."""
        count, self._frame_count = self._frame_count, 0
        return count

    def recv_frame(self, frame: Frame) -> None:
        """Check a frame, and set the size limit of the next message."""
        super().recv_frame(frame)
        self._frame_count += 1
        if frame.opcode not in DATA_OPCODES:
            return
        self._fragments = 0 if frame.fin else self._fragments + 1
        if self._fragments > MAX_FRAGMENTS:
            raise ProtocolError(f"more than {MAX_FRAGMENTS} fragments")
        if frame.fin:
            self.max_message_size = self._max_bytes


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
