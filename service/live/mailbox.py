"""What one step of a stream hands to the next: everything that has gathered, at once."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

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
