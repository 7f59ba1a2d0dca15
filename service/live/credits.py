"""How many frames of a stream may be under way."""

from __future__ import annotations

import asyncio


class FrameCredits:
    """Counts frames between the intake and their first result."""

    def __init__(self, max_frames: int) -> None:
        self._max_frames = max_frames
        self._in_flight = 0
        self._available = asyncio.Event()

    async def wait(self) -> None:
        """Until another frame may be taken on."""
        while self._in_flight >= self._max_frames:
            self._available.clear()
            await self._available.wait()

    def acquire(self) -> None:
        """One frame more is under way."""
        self._in_flight += 1

    def release(self, frames: int = 1) -> None:
        """So many have been answered."""
        self._in_flight -= frames
        self._available.set()
