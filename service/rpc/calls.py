"""The calls that are under way."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager


class InFlightCalls:
    """Counts them, so that the end can wait for the last."""

    def __init__(self) -> None:
        self._count = 0
        self.drained = asyncio.Event()
        self.drained.set()

    @contextmanager
    def track_call(self) -> Generator[None]:
        """A call for as long as the context lasts."""
        self._count += 1
        self.drained.clear()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self.drained.set()
