"""HTTP/1.1 connection: uvicorn's, with bounds on what one client may take.

uvicorn bounds the pause between two requests and the buffered part of a body. This adds deadlines
and sizes of request heads, a deadline for unread responses, and TCP keep-alive.
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
from service.gateway.lifecycle import ShutdownPhase, ShutdownState
from service.settings import Settings

MAX_HEAD_BYTES: Final = 2**16
"""Bytes of a request line and headers, of trailers, and of anything else that is no body."""
MAX_HEADERS: Final = 100
"""Headers of one request."""
FIRST_REQUEST_SECONDS: Final = 1.0
"""Time for the first request on a connection that was made just before the shutdown."""
_BODY_HEADERS: Final = frozenset({b"content-length", b"transfer-encoding"})
_KEEPALIVE_OPTIONS: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))


class BoundedConnection(LimitedConnection, HttpToolsProtocol):
    """One HTTP connection, made by uvicorn's server."""

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

    @property
    def is_busy(self) -> bool:
        """True while a request is under way or waits for the one before it."""
        return self._has_request and not self.cycle.response_complete

    # lifetime

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  # narrowed as uvicorn does
        """Admit the connection, or answer 503."""
        super().connection_made(transport)
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
        elif self.transport.is_closing() or self.is_busy:
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

    # request

    def data_received(self, data: bytes) -> None:
        """Parse within bounds."""
        self._bytes_without_progress += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._bytes_without_progress > MAX_HEAD_BYTES:
            self._refuse(HeadTooLarge())
        elif self._bytes_without_progress and not self._is_in_body and self._head_deadline is None:
            self._restart_head_deadline()

    def on_message_begin(self) -> None:
        """Start the deadline of a request head, unless it runs since the connection was made."""
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
        """Hand the transport over to a WebSocket, unless a response is still being written."""
        if self.transport.is_closing():
            return
        if self.is_busy:
            self._refuse(RequestMalformed("a WebSocket follows a request that is under way"))
            return
        self.limiter.release(self)
        super().handle_websocket_upgrade()

    def on_body(self, body: bytes) -> None:
        """Note the progress; the rate of uploads is checked by the application."""
        self._bytes_without_progress = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of the body."""
        self._bytes_without_progress = 0
        self._is_in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Restart the deadline of a head that has begun; uvicorn times the pause before it."""
        if self._head_deadline is not None:
            self._restart_head_deadline()
        if not self.pipeline:
            self.limiter.mark_idle(self)
        super().on_response_complete()

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
