"""One client's WebSocket: uvicorn's, with the bounds of any other connection of the gateway.

uvicorn reads one message at a time, and sends the next when the last is taken. Here are a bound on
what a message may be made of, on how long an answer may lie there untaken and a client be silent,
and an eye on clients that go while nothing is read from them.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
from contextlib import suppress
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.exceptions import ProtocolError, SecurityError
from websockets.frames import DATA_OPCODES, CloseCode, Frame
from websockets.server import ServerProtocol

from service.errors import HeadTooLarge, RequestMalformed
from service.gateway.http_server.connection import WriteStallTimer
from service.gateway.http_server.connection_limiter import UNKNOWN_ADDRESS, ConnectionLimiter
from service.gateway.http_server.raw_response import raw_error_response
from service.gateway.rest.websocket_exchange import CLIENT_GONE_KEY
from service.gateway.rest.websocket_messages import MAX_TEXT_LENGTH, MEDIA_HEADER
from service.settings import Settings
from service.telemetry.metrics import Metrics

PING_INTERVAL_SECONDS: Final = 20.0
CLIENT_TIMEOUT_SECONDS: Final = 60.0
"""A client that has answered no ping, nor sent anything, for so long is gone."""
MAX_UNREAD_PONG_BYTES: Final = 2**16
"""Of answers to pings, for a client that takes none."""
NOTSENT_LOWAT_BYTES: Final = 2**15
"""What the kernel takes from us beyond what is on its way."""
MAX_FRAGMENTS: Final = 1024
"""Of one message."""

log = logging.getLogger(__name__)


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """Made when a connection is upgraded, in whose place it comes."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limiter: ConnectionLimiter,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self._client_gone = asyncio.Event()
        super().__init__(
            config, server_state, {**app_state, CLIENT_GONE_KEY: self._client_gone}, _loop
        )
        self.logger = logging.getLogger("uvicorn.access")  # its lines hold queries
        self.conn = _BoundedServerProtocol(settings.max_stream_message_bytes + MEDIA_HEADER.size)
        self._limiter = limiter
        self._settings = settings
        self._metrics = metrics
        self._last_received_at = self.loop.time()
        self._is_aborted = False
        self._write_stall_timer = WriteStallTimer(settings.response_stall_seconds)

    @property
    def address(self) -> str:
        """Of the client."""
        return self.client[0] if self.client else UNKNOWN_ADDRESS

    # the life of the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the place of the connection that was upgraded: it is never crowded out."""
        super().connection_made(transport)
        self._limiter.admit(self)
        self._limiter.mark_busy(self)
        self.transport.set_write_buffer_limits(0)  # one message at a time
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family != socket.AF_UNIX:
            with suppress(OSError):  # the client may be gone already
                option = socket.TCP_NOTSENT_LOWAT
                connection.setsockopt(socket.IPPROTO_TCP, option, NOTSENT_LOWAT_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._client_gone.set()
        self._limiter.release(self)
        super().connection_lost(exc)

    def evict(self) -> None:
        """Make room for another client."""
        self._abort("evicted")

    def check_deadlines(self, now_seconds: float) -> None:
        """End what has had its time."""
        if self._write_stall_timer.is_overdue(self.transport, now_seconds):
            self._abort("answer_stalled")
        elif self.read_paused:
            self._last_received_at = now_seconds  # it is not listened to
            if self._has_peer_closed():
                self.transport.abort()
        elif now_seconds > self._last_received_at + CLIENT_TIMEOUT_SECONDS:
            self._abort("client_timeout")

    def shutdown(self) -> None:
        """The gateway stops: a stream says so itself, and has time to."""
        if self.handshake_complete and not self.close_sent:
            self.loop.call_later(self._settings.drain_seconds, self._close_if_open)
        else:
            super().shutdown()

    def _close_if_open(self) -> None:
        if not (self.disconnected or self.transport.is_closing()):
            super().shutdown()

    # what the client sends

    def data_received(self, data: bytes) -> None:
        """Read on, within bounds."""
        self._last_received_at = self.loop.time()
        super().data_received(data)
        handshake_error = self.conn.handshake_exc
        if handshake_error is not None and not self.handshake_initiated:
            is_large = isinstance(handshake_error, SecurityError)
            error = HeadTooLarge() if is_large else RequestMalformed(str(handshake_error)[:200])
            self.transport.write(raw_error_response(error))
            self.transport.close()

    def send_receive_event_to_app(self) -> None:
        """Hand over a whole message; a text that is none ends the connection, and is no defect."""
        if self.curr_msg_data_type == "text" and not _is_utf8(b"".join(self.frames)):
            self.conn.send_close(CloseCode.INVALID_DATA)
            self.handle_parser_exception()
        else:
            super().send_receive_event_to_app()

    def handle_ping(self) -> None:
        """Answer a ping, unless answer upon answer lies there."""
        if self.transport.get_write_buffer_size() > MAX_UNREAD_PONG_BYTES:
            self._abort("answer_stalled")
        else:
            super().handle_ping()

    # what the client takes

    def resume_writing(self) -> None:
        """The client has taken what lay there."""
        self._write_stall_timer.restart()
        super().resume_writing()

    def _has_peer_closed(self) -> bool:
        """Whether the client has closed its end; what it sent before may lie there unread."""
        connection = self.transport.get_extra_info("socket")
        if connection is None or connection.fileno() < 0:
            return False
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLRDHUP)
        return bool(poll.poll(0))

    def _abort(self, reason: str) -> None:
        if self._is_aborted:
            return  # what came with the last bytes is still handed over
        self._is_aborted = True
        self._metrics.connections_ended_total.labels(reason).inc()
        log.debug("WebSocket from %s ended: %s", self.address, reason)
        self.transport.abort()


class _BoundedServerProtocol(ServerProtocol):
    """A first message as short as a text may be, then larger ones; of so many fragments each."""

    def __init__(self, max_bytes: int) -> None:
        # four bytes are the most that a letter takes
        super().__init__(max_size=4 * MAX_TEXT_LENGTH, logger=logging.getLogger("uvicorn.access"))
        self._max_bytes = max_bytes
        self._fragments = 0

    def recv_frame(self, frame: Frame) -> None:
        """Take in a frame; the bounds of the next one are set here."""
        super().recv_frame(frame)
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
