"""Who is connected, and who has to go when there is no room for another."""

from __future__ import annotations

from typing import Final, Protocol

from service.settings import Settings
from service.telemetry.metrics import Metrics

UNKNOWN_ADDRESS: Final = ""
"""The address of a client that has none, on a socket file."""


class LimitedConnection(Protocol):
    """A connection as the doors see it; the order of `check` is that of arrival."""

    @property
    def address(self) -> str:
        """Of the client."""
        ...

    def check_deadlines(self, now_seconds: float) -> None:
        """End the connection if its time is up."""
        ...

    def evict(self) -> None:
        """End the connection at once; nothing is under way on it."""
        ...


class ConnectionLimiter:
    """Lets connections in within bounds.

    Where a bound is met, the one goes that has been waiting longest without a request under way,
    of the address that has most of those: who holds connections open for nothing keeps nobody
    else out. Where all are at work, the newcomer is refused.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._max_connections = settings.max_connections
        self._max_per_client = settings.max_connections_per_client
        self._metrics = metrics
        self._connections: dict[LimitedConnection, None] = {}
        self._count_by_address: dict[str, int] = {}
        self._idle: dict[str, dict[LimitedConnection, None]] = {}

    def admit(self, connection: LimitedConnection) -> bool:
        """Let a connection in, in the place of another where it must be; False: no room."""
        address = connection.address
        if self._count_by_address.get(address, 0) >= self._max_per_client:
            is_admitted = self._evict_idle(address)
        elif len(self._connections) >= self._max_connections:
            is_admitted = self._evict_idle(self._busiest_address())
        else:
            is_admitted = True
        if is_admitted:
            self._connections[connection] = None
            self._count_by_address[address] = self._count_by_address.get(address, 0) + 1
            self.mark_idle(connection)
            self._metrics.connections.set(len(self._connections))
        return is_admitted

    def mark_idle(self, connection: LimitedConnection) -> None:
        """Nothing is under way on this connection (any more)."""
        if connection in self._connections:
            self._idle.setdefault(connection.address, {})[connection] = None

    def mark_busy(self, connection: LimitedConnection) -> None:
        """A request is under way on this connection: it stays."""
        idle = self._idle.get(connection.address, {})
        idle.pop(connection, None)
        if not idle:
            self._idle.pop(connection.address, None)

    def release(self, connection: LimitedConnection) -> None:
        """This connection has ended; said twice, it counts once."""
        if connection not in self._connections:
            return
        self.mark_busy(connection)
        del self._connections[connection]
        self._count_by_address[connection.address] -= 1
        if not self._count_by_address[connection.address]:
            del self._count_by_address[connection.address]
        self._metrics.connections.set(len(self._connections))

    def check_deadlines(self, now_seconds: float) -> None:
        """Let every connection look at its clock."""
        for connection in tuple(self._connections):
            connection.check_deadlines(now_seconds)

    def _busiest_address(self) -> str:
        return max(
            self._idle, key=lambda address: len(self._idle[address]), default=UNKNOWN_ADDRESS
        )

    def _evict_idle(self, address: str) -> bool:
        idle = self._idle.get(address)
        if not idle:
            return False
        longest_idle = next(iter(idle))
        self.release(longest_idle)
        longest_idle.evict()
        return True
