"""Limit of the connections of one address to the gRPC port.

gRPC accepts connections by itself, bounds their total only and names a peer only with its calls.
The sockets of this process show the others: of an address with too many, those without a call are
shut down, the longest known first, so that one client cannot hold all connections.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections import Counter, defaultdict
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from service.domain.caller import address_id

CHECK_SECONDS: Final = 1.0
"""Pause between two checks of the connections."""
DESCRIPTORS_DIR: Final = Path("/proc/self/fd")

log = logging.getLogger(__name__)

Peer = tuple[str, int]
"""Id of the address of a client, and its port."""


class ConnectionLimit:
    """Shuts down idle connections beyond `max_per_client` of one address."""

    def __init__(self, max_per_client: int) -> None:
        self._max_per_client = max_per_client
        self._calls: Counter[Peer] = Counter()
        self._known: dict[Peer, None] = {}
        """Peers in the order in which they were found."""

    @contextmanager
    def in_use(self, peer: Peer | None) -> Generator[None]:
        """Spare the connection of a peer while the context lasts: it has a call."""
        if peer is None:
            yield
            return
        self._calls[peer] += 1
        try:
            yield
        finally:
            self._calls[peer] -= 1
            if not self._calls[peer]:
                del self._calls[peer]

    async def run(self, port: int) -> None:
        """Check the connections to `port` until cancelled."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                await asyncio.to_thread(self.shut_down_excess, port)
            except OSError as error:
                log.warning("the gRPC connections cannot be checked: %s", error)

    def shut_down_excess(self, port: int) -> int:
        """Shut down the excess connections to `port`; returns their number."""
        if len(os.listdir(DESCRIPTORS_DIR)) <= self._max_per_client:  # noqa: PTH208 - names only
            return 0
        ended = 0
        with ExitStack() as stack:
            sockets = _find_connections(port, stack)
            self._known = {peer: None for peer in self._known if peer in sockets}
            self._known.update(dict.fromkeys(sockets))
            by_client: dict[str, list[Peer]] = defaultdict(list)
            for peer in self._known:
                by_client[peer[0]].append(peer)
            for client_id, peers in by_client.items():
                excess = max(len(peers) - self._max_per_client, 0)
                idle = [peer for peer in peers if peer not in self._calls][:excess]
                for peer in idle:
                    with suppress(OSError):  # the client may have closed it
                        sockets[peer].shutdown(socket.SHUT_RDWR)
                ended += len(idle)
                if idle:
                    log.info("%s: %d idle gRPC connections were ended", client_id, len(idle))
        return ended


def _find_connections(port: int, stack: ExitStack) -> dict[Peer, socket.socket]:
    """Find the accepted connections to a local port among the descriptors of this process.

    Each is duplicated first, so that the descriptor cannot become another file meanwhile.
    """
    found: dict[Peer, socket.socket] = {}
    for name in os.listdir(DESCRIPTORS_DIR):  # noqa: PTH208 - names only
        try:
            if not os.readlink(DESCRIPTORS_DIR / name).startswith("socket:"):  # noqa: PTH115 - no path
                continue
            duplicate = stack.enter_context(socket.socket(fileno=os.dup(int(name))))
            if duplicate.family not in (socket.AF_INET, socket.AF_INET6):
                continue
            if duplicate.getsockname()[1] == port:
                host, peer_port = duplicate.getpeername()[:2]
                found[address_id(host) or host, peer_port] = duplicate
        except OSError:
            continue  # closed meanwhile, or a listener, which has no peer
    return found
