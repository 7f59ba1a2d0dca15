"""Bounds that HTTP connections and WebSockets share: number of connections, unread responses."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import select
from http import HTTPStatus
from math import ceil
from typing import Final

from service.errors import DEFAULT_RETRY_SECONDS, CircumplexError
from service.gateway.rest.problems import PROBLEM_MEDIA_TYPE, problem_details
from service.gateway.rest.security_headers import SECURITY_HEADERS
from service.settings import Settings
from service.telemetry.metrics import Metrics

UNIX_SOCKET_ADDRESS: Final = ""
"""The address of a client on a Unix socket, which has none."""
READ_BUFFER_BYTES: Final = 2**16
"""Maximum length of one read of an HTTP connection."""

log = logging.getLogger(__name__)


class LimitedConnection(asyncio.Protocol):
    """Mixin of uvicorn's protocols: a connection that the limiter counts, checks and evicts.

    Subclasses set `limiter` and `write_stall_timer` when they are made; `client` and `transport`
    are uvicorn's.
    """

    client: tuple[str, int] | None
    transport: asyncio.Transport
    limiter: ConnectionLimiter
    write_stall_timer: WriteStallTimer
    _is_aborted = False

    @property
    def address(self) -> str:
        """IP address of the client."""
        return self.client[0] if self.client else UNIX_SOCKET_ADDRESS

    def check_deadlines(self, now_seconds: float) -> None:
        """Close the connection if one of its deadlines has passed; called twice a second."""
        raise NotImplementedError

    def evict(self) -> None:
        """Abort the idle connection to make room for a new one."""
        self.abort("evicted")

    def abort(self, reason: str) -> None:
        """Drop the connection and all that its client has not read."""
        if self._is_aborted:
            return  # messages that came with the last bytes are still handled
        self._is_aborted = True
        self.count_ended(reason)
        self.transport.abort()

    def has_peer_closed(self) -> bool:
        """Return True if the client has closed its end; earlier bytes may be unread still."""
        connection = self.transport.get_extra_info("socket")
        if connection is None or connection.fileno() < 0:
            return False
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLRDHUP)
        return bool(poll.poll(0))

    def count_ended(self, reason: str) -> None:
        """Count and log a connection that the gateway ends."""
        self.limiter.metrics.connections_ended_total.labels(reason).inc()
        log.debug("%s from %s ended: %s", type(self).__name__, self.address, reason)

    def resume_writing(self) -> None:
        """Note that the client reads; called when the write buffer has drained."""
        self.write_stall_timer.restart()
        super().resume_writing()


class ConnectionLimiter:
    """Admits connections within bounds, in total and for each client address.

    At a bound, a new connection replaces the one that has been idle longest, from the address
    with the most idle connections. If none is idle, the new connection is refused.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.metrics = metrics
        self.read_buffer = memoryview(bytearray(READ_BUFFER_BYTES))
        self._max_connections = settings.max_connections
        self._max_per_client = settings.max_connections_per_client
        self._connections: dict[LimitedConnection, None] = {}
        self._count_by_address: dict[str, int] = {}
        self._idle: dict[str, dict[LimitedConnection, None]] = {}

    def admit(self, connection: LimitedConnection) -> bool:
        """Count a connection, idle at first, evicting another if need be; False: no room."""
        address = connection.address
        if self._count_by_address.get(address, 0) >= self._max_per_client:
            is_admitted = self._evict_idle(address)
        elif len(self._connections) >= self._max_connections:
            is_admitted = self._evict_idle(self._find_address_to_evict_from())
        else:
            is_admitted = True
        if is_admitted:
            self._connections[connection] = None
            self._count_by_address[address] = self._count_by_address.get(address, 0) + 1
            self.mark_idle(connection)
            self.metrics.connections.set(len(self._connections))
        return is_admitted

    def mark_idle(self, connection: LimitedConnection) -> None:
        """Note that no request is under way: the connection may be evicted."""
        if connection in self._connections:
            self._idle.setdefault(connection.address, {})[connection] = None

    def mark_busy(self, connection: LimitedConnection) -> None:
        """Note that a request is under way: the connection is not evicted."""
        idle = self._idle.get(connection.address, {})
        idle.pop(connection, None)
        if not idle:
            self._idle.pop(connection.address, None)

    def release(self, connection: LimitedConnection) -> None:
        """Count a connection no longer; idempotent."""
        if connection not in self._connections:
            return
        self.mark_busy(connection)
        del self._connections[connection]
        self._count_by_address[connection.address] -= 1
        if not self._count_by_address[connection.address]:
            del self._count_by_address[connection.address]
        self.metrics.connections.set(len(self._connections))

    def check_deadlines(self, now_seconds: float) -> None:
        """Check the deadlines of every connection."""
        for connection in tuple(self._connections):
            connection.check_deadlines(now_seconds)

    def _find_address_to_evict_from(self) -> str:
        return max(
            self._idle, key=lambda address: len(self._idle[address]), default=UNIX_SOCKET_ADDRESS
        )

    def _evict_idle(self, address: str) -> bool:
        idle = self._idle.get(address)
        if not idle:
            return False
        longest_idle = next(iter(idle))
        self.release(longest_idle)
        longest_idle.evict()
        return True


class WriteStallTimer:
    """Write-stall timer: due when the send buffer has not drained for `stall_seconds`."""

    def __init__(self, stall_seconds: float) -> None:
        self._stall_seconds = stall_seconds
        self._deadline: float | None = None

    def restart(self) -> None:
        """Restart the timer: the client has read."""
        self._deadline = None

    def is_overdue(self, transport: asyncio.Transport, now_seconds: float) -> bool:
        """Return True if the timer is due; starts it when bytes wait to be read."""
        if not (transport.get_write_buffer_size() or transport.is_closing()):
            self._deadline = None
        elif self._deadline is None:
            self._deadline = now_seconds + self._stall_seconds
        return self._deadline is not None and now_seconds > self._deadline


def error_response(error: CircumplexError) -> bytes:
    """Whole HTTP/1.1 response, closing its connection, to a request that the app never sees."""
    headers, body = error_headers_and_body(error)
    status = f"HTTP/1.1 {error.http_status} {HTTPStatus(error.http_status).phrase}"
    lines = (status, *(f"{name}: {value}" for name, value in headers.items()), "", "")
    return "\r\n".join(lines).encode() + body


def error_headers_and_body(error: CircumplexError) -> tuple[dict[str, str], bytes]:
    """Headers, with names in lower case, and body of the response to such a request."""
    trace_id = secrets.token_hex(16)
    body = json.dumps({**problem_details(error, "/"), "trace_id": trace_id}).encode()
    headers = {
        **{name.lower(): value for name, value in SECURITY_HEADERS.items()},
        "content-type": PROBLEM_MEDIA_TYPE,
        "content-length": str(len(body)),
        "connection": "close",
        "x-trace-id": trace_id,
    }
    if error.retryable:
        headers["retry-after"] = str(ceil(error.retry_seconds or DEFAULT_RETRY_SECONDS))
    return headers, body
