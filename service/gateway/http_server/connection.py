"""HTTP/1.1 connection: uvicorn's, with bounds on what one client may take.

uvicorn bounds the pause between two requests and the buffered part of a body. This adds deadlines
and sizes of request heads, a deadline for unread responses, and TCP keep-alive; and it parses one
request at a time: what follows a request stays unparsed until its response has been sent.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from service.errors import (
    CircumplexError,
    ConnectionsExhausted,
    HeadTooLarge,
    RequestMalformed,
    RequestTooSlow,
)
from service.gateway.http_server.limits import (
    ConnectionLimiter,
    LimitedConnection,
    WriteStallTimer,
    error_response,
)
from service.gateway.http_server.read_size import AdaptiveReadSize
from service.gateway.http_server.request_head import check_host, find_content_length
from service.gateway.http_server.request_splitter import RequestSplitter
from service.gateway.lifecycle import ShutdownPhase, ShutdownState
from service.settings import Settings

MAX_HEAD_BYTES: Final = 2**16
"""Bytes of a request line and headers, of trailers, and of anything else that is no body."""
MAX_HEADERS: Final = 100
"""Headers of one request."""
MAX_READ_AHEAD_BYTES: Final = 2**14
"""Unparsed bytes behind a request under way at which reading pauses."""
MAX_BODY_PIECES: Final = 256
"""Pieces of a body in one read above which the next read is short."""
FIRST_REQUEST_SECONDS: Final = 1.0
"""Time for the first request on a connection that was made just before the shutdown."""
_BODY_HEADERS: Final = frozenset({b"content-length", b"transfer-encoding"})
_KEEPALIVE_OPTIONS: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))


class BoundedConnection(LimitedConnection, HttpToolsProtocol, asyncio.BufferedProtocol):
    """One HTTP connection, made by uvicorn's server.

    A BufferedProtocol, since only those choose the length of a read; all connections share the
    limiter's read buffer.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limiter: ConnectionLimiter,
        shutdown: ShutdownState,
        settings: Settings,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.limiter = limiter
        self.write_stall_timer = WriteStallTimer(settings.response_stall_seconds)
        self._shutdown = shutdown
        self._settings = settings
        self._head_deadline: float | None = None
        self._has_request = False
        self._is_in_head = False
        self._is_in_body = False
        self._bytes_without_progress = 0
        self._head_bytes = 0
        self._head_count = 0
        self._parse_error: CircumplexError | None = None
        self._unparsed = RequestSplitter()
        self._body_bytes: int | None = None
        self._is_read_paused = False
        self._read_size = AdaptiveReadSize(
            max_bytes=len(limiter.read_buffer), max_pieces=MAX_BODY_PIECES
        )

    @property
    def is_busy(self) -> bool:
        """True while a request is under way."""
        return self._has_request and not self.cycle.response_complete

    # lifetime

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  # narrowed as uvicorn does
        """Admit the connection, or answer 503."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(0)  # one response at a time
        _enable_keepalive(transport, self._settings.response_stall_seconds)
        self._restart_head_deadline()
        if not self.limiter.admit(self):
            self._refuse(ConnectionsExhausted())

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the connection's place."""
        self.limiter.release(self)
        super().connection_lost(exc)

    def check_deadlines(self, now_seconds: float) -> None:
        """End a connection that is stalled, or whose next request head is late."""
        if self.write_stall_timer.is_overdue(self.transport, now_seconds):
            self.abort("answer_stalled")
        elif self._is_read_paused and self.has_peer_closed():
            self.transport.abort()
        elif self.transport.is_closing() or self.is_busy or self._is_read_paused:
            return
        elif self._head_deadline is not None and now_seconds > self._head_deadline:
            if self._is_in_head or self._bytes_without_progress:
                self._refuse(RequestTooSlow())
            else:
                self.count_ended("request_too_slow")
                self.transport.close()

    def shutdown(self) -> None:
        """Close once the request under way, or the first one, has its response."""
        if not (self._has_request or self.transport.is_closing()):
            self.loop.call_later(FIRST_REQUEST_SECONDS, super().shutdown)
        else:
            super().shutdown()

    # reading

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - a hint
        """Lend the transport a buffer, as long as its next read may be."""
        length = self._read_size.next_bytes
        if self._is_parsing_held:
            length = min(length, max(MAX_READ_AHEAD_BYTES - len(self._unparsed), 1))
        return self.limiter.read_buffer[:length]

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        self.data_received(bytes(self.limiter.read_buffer[:nbytes]))
        self._read_size.adapt()

    def data_received(self, data: bytes) -> None:
        """Parse up to the end of the request under way."""
        self._unparsed.append(data)
        self._parse()

    def resume_writing(self) -> None:
        """Parse the next request: the client has read the response before it."""
        super().resume_writing()
        self._parse()

    @property
    def _is_parsing_held(self) -> bool:
        """True from the end of a request until its response is complete and sent."""
        return not self._is_in_body and (self.is_busy or self.flow.write_paused)

    def _parse(self) -> None:
        while self._unparsed and not (self._is_parsing_held or self.transport.is_closing()):
            self._parse_piece(self._unparsed.take(self._body_bytes))
            if self.transport.get_protocol() is not self:
                return
        is_full = len(self._unparsed) >= MAX_READ_AHEAD_BYTES
        if self.transport.is_closing() or is_full == self._is_read_paused:
            return
        self._is_read_paused = is_full
        if is_full:
            self.transport.pause_reading()
        elif not self.flow.read_paused:
            self.transport.resume_reading()

    def _parse_piece(self, data: bytes) -> None:
        self._read_size.pieces += 1
        self._bytes_without_progress += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._bytes_without_progress > MAX_HEAD_BYTES:
            self._refuse(HeadTooLarge())
        elif self._bytes_without_progress and not self._is_in_body and self._head_deadline is None:
            self._restart_head_deadline()

    # request

    def on_message_begin(self) -> None:
        """Start the deadline of a request head, unless it runs since the connection was made."""
        if self.is_busy:
            raise RequestMalformed  # the parser sees another end of the request than the splitter
        super().on_message_begin()
        self._is_in_head = True
        self._head_bytes = self._head_count = 0
        if self._head_deadline is None:
            self._restart_head_deadline()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header; drop a trailer."""
        self._head_count += 1
        self._count_head(len(name) + len(value))
        if not self._is_in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request, as uvicorn does by a new `cycle`; a WebSocket handshake has none."""
        self._count_head(len(self.url))
        assert self.parser, "httptools calls back while it parses"
        try:
            check_host(self.headers, self.url, self.parser.get_http_version())
        except RequestMalformed as error:
            self._parse_error = error
            raise
        self._body_bytes = find_content_length(self.headers)
        self._head_deadline = None
        self._is_in_head = False
        self._is_in_body = True
        self._bytes_without_progress = 0
        self.limiter.mark_busy(self)
        previous = self.cycle
        super().on_headers_complete()
        if self.cycle is previous:
            if _BODY_HEADERS & {name for name, _ in self.headers}:
                self._refuse(RequestMalformed("a WebSocket's handshake has no body"))
            return
        self._has_request = True
        if self._shutdown.has_reached(ShutdownPhase.ANNOUNCED):
            self.cycle.keep_alive = False

    def handle_websocket_upgrade(self) -> None:
        """Hand the transport over to a WebSocket, with what has been received beyond the head."""
        if self.transport.is_closing():
            return
        self.limiter.release(self)
        super().handle_websocket_upgrade()
        websocket = self.transport.get_protocol()
        if len(self._unparsed) and isinstance(websocket, asyncio.Protocol):
            websocket.data_received(self._unparsed.take(len(self._unparsed)))

    def on_body(self, body: bytes) -> None:
        """Note the progress; the rate of uploads is checked by the application."""
        self._read_size.pieces += 1
        self._bytes_without_progress = 0
        if self._body_bytes is not None:
            self._body_bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of the body."""
        self._bytes_without_progress = 0
        self._is_in_body = False
        self._body_bytes = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Restart the deadline of a head that has begun, and parse what was received meanwhile.

        uvicorn times the pause before the next request.
        """
        if self._head_deadline is not None:
            self._restart_head_deadline()
        self.limiter.mark_idle(self)
        super().on_response_complete()
        if self._unparsed:
            self._unset_keepalive_if_required()
        self._parse()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's text is replaced
        """Refuse a request that cannot be parsed with a problem document."""
        self._refuse(self._parse_error or RequestMalformed())

    def _restart_head_deadline(self) -> None:
        self._head_deadline = self.loop.time() + self._settings.request_head_timeout_seconds

    def _count_head(self, length: int) -> None:
        self._head_bytes += length
        if self._head_bytes > MAX_HEAD_BYTES or self._head_count > MAX_HEADERS:
            self._parse_error = HeadTooLarge()
            raise self._parse_error  # httptools stops parsing, and uvicorn sends its 400

    def _refuse(self, error: CircumplexError) -> None:
        """Send an error, unless a response has begun, and close."""
        self.count_ended(error.code)
        if not (self.is_busy and self.cycle.response_started):
            self.transport.write(error_response(error))
        self.transport.close()


def _enable_keepalive(transport: asyncio.Transport, stall_seconds: float) -> None:
    """Let the kernel detect clients that vanish without closing."""
    connection = transport.get_extra_info("socket")
    if connection is None or connection.family == socket.AF_UNIX:
        return
    with suppress(OSError):  # the client may have closed already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE_OPTIONS:
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        milliseconds = int(2000 * stall_seconds)  # later than the write-stall timer, which counts
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
