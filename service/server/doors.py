"""Who is connected, and who has to go when there is no room for another."""

from __future__ import annotations

from typing import Final, Protocol

from service.settings import Settings
from service.telemetry.metrics import Metrics

UNKNOWN: Final = ""
"""The address of a client that has none, on a socket file."""


class Guest(Protocol):
    """A connection as the doors see it; the order of `check` is that of arrival."""

    @property
    def address(self) -> str:
        """Of the client."""
        ...

    def check(self, now_seconds: float) -> None:
        """End the connection if its time is up."""
        ...

    def drop(self) -> None:
        """End the connection at once; nothing is under way on it."""
        ...


class Doors:
    """Lets connections in within bounds.

    Where a bound is met, the one goes that has been waiting longest without a request under way,
    of the address that has most of those: who holds connections open for nothing keeps nobody
    else out. Where all are at work, the newcomer is refused.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._most = settings.max_connections
        self._max_per_client = settings.max_connections_per_client
        self._metrics = metrics
        self._guests: dict[Guest, None] = {}
        self._count_of: dict[str, int] = {}
        self._waiting: dict[str, dict[Guest, None]] = {}

    def admit(self, guest: Guest) -> bool:
        """Let a connection in, in the place of another where it must be; False: no room."""
        address = guest.address
        if self._count_of.get(address, 0) >= self._max_per_client:
            has_room = self._make_room(address)
        elif len(self._guests) >= self._most:
            has_room = self._make_room(self._most_crowded())
        else:
            has_room = True
        if has_room:
            self._guests[guest] = None
            self._count_of[address] = self._count_of.get(address, 0) + 1
            self.rest(guest)
            self._metrics.connections.set(len(self._guests))
        return has_room

    def rest(self, guest: Guest) -> None:
        """Nothing is under way on this connection (any more)."""
        if guest in self._guests:
            self._waiting.setdefault(guest.address, {})[guest] = None

    def work(self, guest: Guest) -> None:
        """A request is under way on this connection: it stays."""
        waiting = self._waiting.get(guest.address, {})
        waiting.pop(guest, None)
        if not waiting:
            self._waiting.pop(guest.address, None)

    def leave(self, guest: Guest) -> None:
        """This connection has ended; said twice, it counts once."""
        if guest not in self._guests:
            return
        self.work(guest)
        del self._guests[guest]
        self._count_of[guest.address] -= 1
        if not self._count_of[guest.address]:
            del self._count_of[guest.address]
        self._metrics.connections.set(len(self._guests))

    def check(self, now_seconds: float) -> None:
        """Let every connection look at its clock."""
        for guest in tuple(self._guests):
            guest.check(now_seconds)

    def _most_crowded(self) -> str:
        return max(self._waiting, key=lambda address: len(self._waiting[address]), default=UNKNOWN)

    def _make_room(self, address: str) -> bool:
        waiting = self._waiting.get(address)
        if not waiting:
            return False
        longest = next(iter(waiting))
        self.leave(longest)
        longest.drop()
        return True
