"""How far the end of this gateway is.

Clients that wait for a job or follow its events: so many at once, until the gateway stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from service.errors import TooManySubscribers


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownState:
    """Three events, set in this order when the gateway is told to stop.

    announced: readiness fails, and each answer asks its client to connect anew elsewhere.
    closing: nobody is let in any more; streams end.
    overdue: what is still being sent to us is refused.
    """

    announced: asyncio.Event = field(default_factory=asyncio.Event)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    overdue: asyncio.Event = field(default_factory=asyncio.Event)

    def begin_closing(self, seconds: float) -> None:
        """Let nobody in from now on; what is under way has so long."""
        self.announced.set()
        self.closing.set()
        asyncio.get_running_loop().call_later(seconds, self.overdue.set)


class SubscriberLimiter:
    """Those of one gateway."""

    def __init__(self) -> None:
        self.count = 0
        self._stopping = asyncio.Event()

    @contextmanager
    def slot(self, max_subscribers: int) -> Generator[None]:
        """A place for one of them; raises WatchersFull when `most` have one."""
        if self.count >= max_subscribers:
            raise TooManySubscribers(
                f"{max_subscribers} clients wait for jobs or follow them already"
            )
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1

    @property
    def is_stopping(self) -> bool:
        """Whether the gateway stops: everybody gets an answer now."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """The gateway stops."""
        self._stopping.set()

    async def wait_for_stop(self, seconds: float) -> None:
        """Sleep so long, or until the gateway stops."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
