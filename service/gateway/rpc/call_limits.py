"""Limits of gRPC calls: their number, their first messages, uploads, and health apart from them.

gRPC buffers a message whole before it hands it over, so each call that waits for one can take
`max_stream_message_bytes`: the number of calls that wait is bounded, by client and in total. A
message of which no part is read takes 64 KiB at most, the window of HTTP/2.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import unquote
from weakref import WeakValueDictionary

from service.domain.caller import Caller, address_id
from service.domain.limiter import ClientLimiter
from service.errors import CircumplexError, QuotaExceeded, RequestTooSlow, TooManyCalls
from service.gateway.rpc.connection_limit import ConnectionLimit, Peer
from service.settings import Settings

BUSY_MESSAGE_SECONDS: Final = 1.0
"""Time-out of the first message of a call while other calls wait for its slot."""
MAX_HEALTH_CALLS: Final = 400
MAX_HEALTH_CALLS_PER_CLIENT: Final = 50
"""Concurrent calls of the health service, most of them watches; they count apart."""
MAX_HEALTH_MESSAGES: Final = 8
MAX_HEALTH_MESSAGES_PER_CLIENT: Final = 2
"""Messages to the health service that are on their way."""
LOCAL_CLIENT: Final = "local"
"""Id of the clients of a Unix socket, which have no address."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _PendingMessage:
    """First message of a call on its way. Times are those of the event loop."""

    client_id: str
    since: float
    deadline: asyncio.Timeout


class ClientSlots:
    """Slots that calls wait for: those of a client first, then those of all clients."""

    def __init__(self, *, max_total: int, max_per_client: int) -> None:
        self._max_per_client = max_per_client
        self._total_slots = asyncio.Semaphore(max_total)
        self._client_slots: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._waiting: Counter[str] = Counter()

    def is_contended(self, client_id: str) -> bool:
        """Return whether calls wait, of this client or of all clients."""
        return self._waiting[client_id] > 0 or self._total_slots.locked()

    @asynccontextmanager
    async def acquire(
        self, client_id: str, on_full: Callable[[bool], None]
    ) -> AsyncGenerator[None]:
        """Wait for a slot, and hold it while the context lasts.

        Args: on_full: called before a wait; True: for a slot of the client's own.
        """
        own = self._client_slots.get(client_id)
        if own is None:
            own = self._client_slots[client_id] = asyncio.Semaphore(self._max_per_client)
        with self._counted_as_waiting(client_id):
            if own.locked():
                on_full(True)
            await own.acquire()
            try:
                if self._total_slots.locked():
                    on_full(False)
                await self._total_slots.acquire()
            except BaseException:
                own.release()
                raise
        try:
            yield
        finally:
            self._total_slots.release()
            own.release()

    @contextmanager
    def _counted_as_waiting(self, client_id: str) -> Generator[None]:
        self._waiting[client_id] += 1
        try:
            yield
        finally:
            self._waiting[client_id] -= 1
            if not self._waiting[client_id]:
                del self._waiting[client_id]


class FirstMessageReader:
    """Reads the first messages of calls within slots, by client and in total.

    A message has `timeout_seconds`, and BUSY_MESSAGE_SECONDS while other calls wait for a slot:
    messages that stay away delay those that are there by no more.
    """

    def __init__(self, *, max_total: int, max_per_client: int, timeout_seconds: float) -> None:
        self._slots = ClientSlots(max_total=max_total, max_per_client=max_per_client)
        self._timeout_seconds = timeout_seconds
        self._pending: set[_PendingMessage] = set()

    async def read(self, client_id: str, read: Callable[[], Awaitable[T]]) -> T:
        """Await `read` in a slot of the client. Raises: RequestTooSlow."""

        def hasten(is_own: bool) -> None:
            self._hasten(client_id if is_own else None)

        async with self._slots.acquire(client_id, hasten):
            now = asyncio.get_running_loop().time()
            is_contended = self._slots.is_contended(client_id)
            seconds = BUSY_MESSAGE_SECONDS if is_contended else self._timeout_seconds
            deadline = asyncio.timeout_at(now + min(seconds, self._timeout_seconds))
            message = _PendingMessage(client_id=client_id, since=now, deadline=deadline)
            self._pending.add(message)
            try:
                async with deadline:
                    return await read()
            except TimeoutError as error:
                if not deadline.expired():
                    raise
                raise RequestTooSlow(
                    "the first message of the call did not come in time"
                ) from error
            finally:
                self._pending.discard(message)

    def _hasten(self, client_id: str | None) -> None:
        """Shorten the time-outs of the pending messages of a client; None: of all clients."""
        for message in self._pending:
            deadline, due = message.deadline, message.since + BUSY_MESSAGE_SECONDS
            is_meant = client_id in (None, message.client_id)
            if is_meant and not deadline.expired() and (deadline.when() or 0.0) > due:
                deadline.reschedule(due)


class UploadSlots:
    """Slots of uploads: a call waits for one up to `timeout_seconds`, and is refused then."""

    def __init__(self, *, max_total: int, max_per_client: int, timeout_seconds: float) -> None:
        self._slots = ClientSlots(max_total=max_total, max_per_client=max_per_client)
        self._max_per_client = max_per_client
        self._max_total = max_total
        self._timeout_seconds = timeout_seconds

    @asynccontextmanager
    async def acquire(self, client_id: str) -> AsyncGenerator[None]:
        """Hold a slot while the context lasts.

        Raises: QuotaExceeded: the uploads of the client have all its slots. TooManyCalls.
        """
        error: CircumplexError = TooManyCalls()

        def note(is_own: bool) -> None:
            nonlocal error
            error = (
                QuotaExceeded(
                    f"{self._max_per_client} uploads of this key or address are under way"
                )
                if is_own
                else TooManyCalls(f"{self._max_total} uploads are under way")
            )

        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    await stack.enter_async_context(self._slots.acquire(client_id, note))
            except TimeoutError:
                raise error from None
            yield


class CallLimits:
    """The limits of one gRPC server."""

    def __init__(self, settings: Settings) -> None:
        max_first, max_uploads = _split_bytes(settings.max_pending_message_bytes, settings)
        max_first_per_client, max_uploads_per_client = _split_bytes(
            settings.max_pending_message_bytes_per_client, settings
        )
        timeout_seconds = settings.call_message_timeout_seconds
        self._settings = settings
        self.connections = ConnectionLimit(settings.max_connections_per_client)
        self._calls_by_address = ClientLimiter("calls", TooManyCalls)
        self._calls_by_key = ClientLimiter("calls", TooManyCalls)
        self._health_calls = ClientLimiter("health calls", TooManyCalls)
        self.uploads = UploadSlots(
            max_total=max_uploads,
            max_per_client=max_uploads_per_client,
            timeout_seconds=timeout_seconds,
        )
        self.first_messages = FirstMessageReader(
            max_total=max_first,
            max_per_client=max_first_per_client,
            timeout_seconds=timeout_seconds,
        )
        self.health_messages = FirstMessageReader(
            max_total=MAX_HEALTH_MESSAGES,
            max_per_client=MAX_HEALTH_MESSAGES_PER_CLIENT,
            timeout_seconds=timeout_seconds,
        )

    def call_of_address(self, client_id: str) -> AbstractContextManager[None]:
        """Count a call by the address of its peer. Raises: QuotaExceeded, TooManyCalls."""
        settings = self._settings
        return self._calls_by_address.slot(
            client_id,
            max_per_client=settings.max_calls_per_client,
            max_total=settings.max_calls,
        )

    def call_of_key(self, caller: Caller) -> AbstractContextManager[None]:
        """Count a call by its API key, if it has one. Raises: QuotaExceeded."""
        return self._calls_by_key.slot(
            caller.client_id, max_per_client=self._settings.max_calls_per_client
        )

    def health_call(self, client_id: str) -> AbstractContextManager[None]:
        """Count a call of the health service. Raises: QuotaExceeded, TooManyCalls."""
        return self._health_calls.slot(
            client_id, max_per_client=MAX_HEALTH_CALLS_PER_CLIENT, max_total=MAX_HEALTH_CALLS
        )


def _split_bytes(pending_bytes: int, settings: Settings) -> tuple[int, int]:
    """Split a limit of bytes into numbers of messages: first ones of calls, and of uploads."""
    messages = pending_bytes // settings.max_stream_message_bytes
    return max(messages // 3, 1), max(messages - messages // 3, 1)


def client_of_peer(context: Any) -> str:
    """Id of the address of a call's peer, by which calls are counted before the key is known."""
    return address_id(parse_peer_address(context.peer())) or LOCAL_CLIENT


def connection_of_peer(context: Any) -> Peer | None:
    """Name the connection of a call for ConnectionLimit; None: it has no address."""
    address = parse_peer_address(context.peer())
    if address is None:
        return None
    return address_id(address) or address, int(context.peer().rpartition(":")[2])


def parse_peer_address(peer: str) -> str | None:
    """Return the address in gRPC's name of a peer: `ipv4:127.0.0.1:51762`, `ipv6:[::1]:51762`."""
    kind, _, address = unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return None
    return address.rpartition(":")[0].strip("[]")
