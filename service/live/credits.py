"""How many frames of a stream may be under way."""

from __future__ import annotations

import asyncio


class Credits:
    """Counts frames between the intake and their first result."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._has_room = asyncio.Event()

    async def wait(self) -> None:
        """Until another frame may be taken on."""
        while self._taken >= self._most:
            self._has_room.clear()
            await self._has_room.wait()

    def take(self) -> None:
        """One frame more is under way."""
        self._taken += 1

    def give(self, frames: int = 1) -> None:
        """So many have been answered."""
        self._taken -= frames
        self._has_room.set()
