"""One client's connection: uvicorn's, with a bound on everything that a client may take.

uvicorn bounds the wait between two requests of a connection, and what it buffers of a body. Here
are the rest: how long and how large a request's head may be, how long an answer may lie there
untaken, and how long a client that is gone may stay unnoticed.

How long an answer may lie there without its client taking any of it.
"""

from __future__ import annotations

import asyncio
import logging
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
from service.gateway.http_server.connection_limiter import UNKNOWN_ADDRESS, ConnectionLimiter
from service.gateway.http_server.raw_response import raw_error_response
from service.gateway.lifecycle import ShutdownState
from service.settings import Settings
from service.telemetry.metrics import Metrics

MAX_HEAD_BYTES: Final = 2**16
"""Of a request line and its headers, of trailers, and of anything else that is no body."""
MAX_HEADERS: Final = 100
FIRST_REQUEST_SECONDS: Final = 1.0
"""A connection that was made just before the end may still bring its request."""
_BODY_HEADERS: Final = frozenset({b"content-length", b"transfer-encoding"})
_KEEPALIVE_OPTIONS: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))

log = logging.getLogger(__name__)


class BoundedConnection(HttpToolsProtocol):
    """Made by uvicorn's server; the doors and the clock are the gateway's."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limiter: ConnectionLimiter,
        drain: ShutdownState,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limiter = limiter
        self._drain = drain
        self._settings = settings
        self._metrics = metrics
        self._head_deadline: float | None = None
        self._write_stall_timer = WriteStallTimer(settings.response_stall_seconds)
        self._has_request = False
        self._is_in_head = False
        self._is_in_body = False
        self._bytes_without_progress = 0
        self._head_bytes = 0
        self._head_count = 0
        self._parse_error: CircumplexError | None = None

    @property
    def address(self) -> str:
        """Of the client."""
        return self.client[0] if self.client else UNKNOWN_ADDRESS

    @property
    def is_busy(self) -> bool:
        """Whether a request is under way, or waits for the one before it."""
        return self._has_request and not self.cycle.response_complete

    # the life of the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let the client in, or send it away."""
        super().connection_made(transport)
        _enable_keepalive(transport, self._settings.response_stall_seconds)
        self._head_deadline = self.loop.time() + self._settings.request_head_timeout_seconds
        if not self._limiter.admit(self):
            self._refuse(ConnectionsExhausted())

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._limiter.release(self)
        super().connection_lost(exc)

    def evict(self) -> None:
        """Make room for another client."""
        self._abort("evicted")

    def check_deadlines(self, now_seconds: float) -> None:
        """End what has had its time."""
        if self._write_stall_timer.is_overdue(self.transport, now_seconds):
            self._abort("answer_stalled")
        elif self.transport.is_closing() or self.is_busy:
            return
        elif self._head_deadline is not None and now_seconds > self._head_deadline:
            if self._is_in_head or self._bytes_without_progress:
                self._refuse(RequestTooSlow())
            else:
                self._count_ended("request_too_slow")
                self.transport.close()

    def shutdown(self) -> None:
        """The gateway stops: nothing more is accepted here once what is under way is done."""
        if not (self._has_request or self.transport.is_closing()):
            self.loop.call_later(FIRST_REQUEST_SECONDS, super().shutdown)
        else:
            super().shutdown()

    # what the client sends

    def data_received(self, data: bytes) -> None:
        """Read on, within bounds."""
        self._bytes_without_progress += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._bytes_without_progress > MAX_HEAD_BYTES:
            self._refuse(HeadTooLarge())
        elif self._bytes_without_progress and not self._is_in_body:
            self._start_head_deadline()

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._is_in_head = True
        self._head_bytes = self._head_count = 0
        self._start_head_deadline()

    def on_url(self, url: bytes) -> None:
        """Count the bytes of the request line."""
        super().on_url(url)
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header; one that follows the body is nobody's concern."""
        self._head_count += 1
        self._count_head(len(name) + len(value))
        if not self._is_in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: the application takes over."""
        self._head_deadline = None
        self._is_in_head = False
        self._is_in_body = True
        self._bytes_without_progress = 0
        self._limiter.mark_busy(self)
        super().on_headers_complete()
        parser = self.parser
        if parser is not None and parser.should_upgrade() and self._should_upgrade():
            if _BODY_HEADERS & {name for name, _ in self.headers}:
                self._refuse(RequestMalformed("a WebSocket's handshake has no body"))
            return
        self._has_request = True
        if self._drain.announced.is_set():
            self.cycle.keep_alive = False

    def handle_websocket_upgrade(self) -> None:
        """Give the place to the WebSocket; not while an earlier answer is still being written."""
        if self.transport.is_closing():
            return
        if self.is_busy:
            self._refuse(RequestMalformed("a WebSocket follows a request that is under way"))
            return
        self._limiter.release(self)
        super().handle_websocket_upgrade()

    def on_body(self, body: bytes) -> None:
        """A part of the body is progress."""
        self._bytes_without_progress = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """So is its end."""
        self._bytes_without_progress = 0
        self._is_in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The client may take its time over the next request, within uvicorn's bound."""
        if self._head_deadline is not None:
            self._head_deadline = self.loop.time() + self._settings.request_head_timeout_seconds
        if not self.pipeline:
            self._limiter.mark_idle(self)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """What cannot be parsed is refused as any other request is."""
        self._refuse(self._parse_error or RequestMalformed())

    # what the client takes

    def resume_writing(self) -> None:
        """The client has taken most of what lay there."""
        self._write_stall_timer.restart()
        super().resume_writing()

    def _start_head_deadline(self) -> None:
        if self._head_deadline is None:
            self._head_deadline = self.loop.time() + self._settings.request_head_timeout_seconds

    def _count_head(self, length: int) -> None:
        self._head_bytes += length
        if self._head_bytes > MAX_HEAD_BYTES or self._head_count > MAX_HEADERS:
            self._parse_error = HeadTooLarge()
            raise self._parse_error  # httptools gives up, and uvicorn asks for a 400

    def _refuse(self, error: CircumplexError) -> None:
        """Say why, unless an answer has begun; then close."""
        self._count_ended(error.code)
        if not (self.is_busy and self.cycle.response_started):
            self.transport.write(raw_error_response(error))
        self.transport.close()

    def _abort(self, reason: str) -> None:
        self._count_ended(reason)
        self.transport.abort()

    def _count_ended(self, reason: str) -> None:
        self._metrics.connections_ended_total.labels(reason).inc()
        log.debug("connection from %s ended: %s", self.address, reason)


def _enable_keepalive(transport: asyncio.Transport, stall_seconds: float) -> None:
    """Let the kernel find out about clients that are gone without a word."""
    connection = transport.get_extra_info("socket")
    if connection is None or connection.family == socket.AF_UNIX:
        return
    with suppress(OSError):  # the client may be gone already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE_OPTIONS:
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        milliseconds = int(2000 * stall_seconds)  # later than our own clock, which counts
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


class WriteStallTimer:
    """The clock of one connection."""

    def __init__(self, stall_seconds: float) -> None:
        self._stall_seconds = stall_seconds
        self._deadline: float | None = None

    def restart(self) -> None:
        """The client has taken most of what lay there."""
        self._deadline = None

    def is_overdue(self, transport: asyncio.Transport, now_seconds: float) -> bool:
        """Whether nothing was taken for too long; asked now and then."""
        if not (transport.get_write_buffer_size() or transport.is_closing()):
            self._deadline = None
        elif self._deadline is None:
            self._deadline = now_seconds + self._stall_seconds
        return self._deadline is not None and now_seconds > self._deadline
