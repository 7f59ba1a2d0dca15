"""Clients that wait for a job or follow its events: so many at once, until the gateway stops."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress

from service.errors import WatchersFull


class Watchers:
    """Those of one gateway."""

    def __init__(self) -> None:
        self.count = 0
        self._sent_home = asyncio.Event()

    @contextmanager
    def seat(self, most: int) -> Generator[None]:
        """A place for one of them; raises WatchersFull when `most` have one."""
        if self.count >= most:
            raise WatchersFull(f"{most} clients wait for jobs or follow them already")
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1

    @property
    def are_sent_home(self) -> bool:
        """Whether the gateway stops: everybody gets an answer now."""
        return self._sent_home.is_set()

    def send_home(self) -> None:
        """The gateway stops."""
        self._sent_home.set()

    async def pause(self, seconds: float) -> None:
        """Sleep so long, or until the gateway stops."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._sent_home.wait()
