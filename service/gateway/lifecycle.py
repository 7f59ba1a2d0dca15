"""Shutdown of the gateway in four phases, and the number of clients that wait for jobs meanwhile.

    SERVING
       |  a request to stop: SIGTERM, SIGINT
    ANNOUNCED  /health/ready and gRPC's health fail; each HTTP response closes its connection
       |  drain_delay_seconds, at least ARRIVAL_SECONDS
    CLOSING    no new connections and calls; streams are drained; long polls and event streams end
       |  drain_seconds
    OVERDUE    uploads are refused; OVERDUE_GRACE_SECONDS later the rest is cut off

`drive_shutdown` alone advances the phase; servers, health, uploads and subscribers observe it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from enum import IntEnum
from typing import Final

from service.background_task import run_in_background
from service.domain.caller import Caller
from service.domain.limiter import ClientLimiter
from service.errors import TooManySubscribers
from service.settings import Settings

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
ARRIVAL_SECONDS: Final = 0.1
"""Minimum time between ANNOUNCED and CLOSING, in which requests on their way arrive."""
OVERDUE_GRACE_SECONDS: Final = 2.0
"""Time in which overdue requests and calls receive their refusal."""


class ShutdownPhase(IntEnum):
    """Phases of the shutdown, in order; the phase never goes back."""

    SERVING = 0
    ANNOUNCED = 1
    CLOSING = 2
    OVERDUE = 3


class ShutdownState:
    """The phase that the gateway has reached, and the phase that was requested."""

    def __init__(self) -> None:
        self._reached = {phase: asyncio.Event() for phase in ShutdownPhase}
        self._requested = {phase: asyncio.Event() for phase in ShutdownPhase}
        self.advance(ShutdownPhase.SERVING)

    def has_reached(self, phase: ShutdownPhase) -> bool:
        """Return True from the moment at which `phase` begins."""
        return self._reached[phase].is_set()

    async def wait_for(self, phase: ShutdownPhase, seconds: float | None = None) -> bool:
        """Wait until `phase` begins or the time is over; returns True if it has begun."""
        return await _wait_for_event(self._reached[phase], seconds)

    def request(self, phase: ShutdownPhase) -> None:
        """Request `phase` now, without the waits before it."""
        _set_up_to(self._requested, phase)

    def request_stop(self) -> None:
        """Request a shutdown; the second call ends all its waits."""
        is_repeated = self._requested[ShutdownPhase.ANNOUNCED].is_set()
        self.request(ShutdownPhase.OVERDUE if is_repeated else ShutdownPhase.ANNOUNCED)

    async def wait_for_request(self, phase: ShutdownPhase, seconds: float | None = None) -> bool:
        """Wait until `phase` is requested or the time is over; returns True if it was requested."""
        return await _wait_for_event(self._requested[phase], seconds)

    def advance(self, phase: ShutdownPhase) -> None:
        """Enter `phase`. Called by `drive_shutdown` only."""
        _set_up_to(self._reached, phase)


@asynccontextmanager
async def drive_shutdown(
    shutdown: ShutdownState, settings: Settings, *, drain_streams: Callable[[], None]
) -> AsyncGenerator[None]:
    """Advance the shutdown's phases, as requested and in time, while the context lasts.

    Args: drain_streams: refuses new streams and ends open ones with a resume token.
    """
    waits: dict[ShutdownPhase, float | None] = {
        ShutdownPhase.ANNOUNCED: None,
        ShutdownPhase.CLOSING: max(settings.drain_delay_seconds, ARRIVAL_SECONDS),
        ShutdownPhase.OVERDUE: settings.drain_seconds,
    }

    async def drive() -> None:
        for phase, seconds in waits.items():
            await shutdown.wait_for_request(phase, seconds)
            shutdown.advance(phase)
            if phase is ShutdownPhase.CLOSING:
                drain_streams()

    async with run_in_background(drive(), name="shutdown"):
        yield


@contextmanager
def stop_on_signals(shutdown: ShutdownState) -> Generator[None]:
    """Request a stop at each SIGTERM and SIGINT while the context lasts."""
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, shutdown.request_stop)
    try:
        yield
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


class SubscriberLimiter(ClientLimiter):
    """Counts the clients of one gateway that wait for a job or follow its events."""

    def __init__(self) -> None:
        super().__init__("subscribers", TooManySubscribers)

    def subscription(self, caller: Caller, settings: Settings) -> AbstractContextManager[None]:
        """Count one of the caller while the context lasts.

        Raises: TooManySubscribers. QuotaExceeded: the key or address has too many itself.
        """
        return self.slot(
            caller.client_id,
            max_per_client=settings.max_subscribers_per_client,
            max_total=settings.max_subscribers,
        )


def _set_up_to(events: dict[ShutdownPhase, asyncio.Event], phase: ShutdownPhase) -> None:
    for each in ShutdownPhase:
        if each <= phase:
            events[each].set()


async def _wait_for_event(event: asyncio.Event, seconds: float | None) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
