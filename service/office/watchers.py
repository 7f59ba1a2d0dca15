"""Clients that wait for a job or follow its events: so many at once, until the gateway stops."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress

from service.errors import TooManySubscribers


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
