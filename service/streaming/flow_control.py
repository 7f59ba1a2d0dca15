"""How many frames of a stream may be under way.

What one step of a stream hands to the next: everything that has gathered, at once.

Final results come by the hundred; of all streams together, so many go at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Generic, TypeVar


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


T = TypeVar("T")


class BatchQueue(Generic[T]):
    """First in, first out. A step that is behind takes more at a time, and so catches up."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._item_added = asyncio.Event()
        self.is_closed = False

    def put(self, item: T) -> None:
        """Add an item."""
        self._items.append(item)
        self._item_added.set()

    def close(self) -> None:
        """Nothing more will be put."""
        self.is_closed = True
        self._item_added.set()

    async def take(self, max_items: int) -> list[T]:
        """Wait for items, then take all, or the first `most`; an empty list: that was all."""
        while not self._items and not self.is_closed:
            self._item_added.clear()
            await self._item_added.wait()
        return [self._items.popleft() for _ in range(min(max_items, len(self._items)))]


RESULTS_PER_BURST: Final = 8
BURST_PAUSE_SECONDS: Final = 0.005


class ResultPacer:
    """Shared by the streams of a gateway: between portions, provisional results get through."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def wait(self, result_index: int) -> None:
        """Before the result of this number, from 0, of those that a stream has to tell."""
        if result_index and result_index % RESULTS_PER_BURST == 0:
            async with self._lock:
                await asyncio.sleep(BURST_PAUSE_SECONDS)
