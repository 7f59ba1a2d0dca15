"""Queues and limits between the steps of a stream.

input ─ FrameCredits ─▶ decoding ─ BatchQueue ─▶ models ─ ResultPacer ─▶ ResponseQueue ─▶ client
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from service.streaming.events import DroppedFrames, StreamEvent

T = TypeVar("T")

RESULTS_PER_BURST: Final = 4
BURST_PAUSE_SECONDS: Final = 0.005
"""Pause after each burst of final results."""


class FrameCredits:
    """Flow control: bounds the frames that were sent to decoding and have no first result yet."""

    def __init__(self, max_frames: int) -> None:
        self._max_frames = max_frames
        self._in_flight = 0
        self._available = asyncio.Event()

    async def wait(self) -> None:
        """Wait until another frame may be sent."""
        while self._in_flight >= self._max_frames:
            self._available.clear()
            await self._available.wait()

    def acquire(self) -> None:
        """Count one frame in flight."""
        self._in_flight += 1

    def release(self, frames: int = 1) -> None:
        """Count `frames` frames as finished."""
        self._in_flight -= frames
        self._available.set()


class BatchQueue(Generic[T]):
    """Unbounded queue whose consumer takes all queued items in one batch."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._item_added = asyncio.Event()
        self.is_closed = False

    def put(self, item: T) -> None:
        """Add an item."""
        self._items.append(item)
        self._item_added.set()

    def close(self) -> None:
        """Mark the end of the items."""
        self.is_closed = True
        self._item_added.set()

    async def take(self, max_items: int) -> list[T]:
        """Wait for items and take up to `max_items` of them; an empty list at the end."""
        while not self._items and not self.is_closed:
            self._item_added.clear()
            await self._item_added.wait()
        return [self._items.popleft() for _ in range(min(max_items, len(self._items)))]


class ResultPacer:
    """Spreads final results, which come by the hundred; shared by all streams of a gateway.

    The provisional results of all streams are made and sent in between.
    """

    def __init__(self) -> None:
        self.estimation_lock = asyncio.Lock()
        """Held while the final results of one stream are estimated."""
        self._lock = asyncio.Lock()

    async def wait(self, result_index: int) -> None:
        """Wait before sending the result of this number, from 0, within one stream's batch."""
        if result_index and result_index % RESULTS_PER_BURST == 0:
            async with self._lock:
                await asyncio.sleep(BURST_PAUSE_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedEvent:
    """An event to be sent. arrived_at: of a result, when its frame's last byte was received.

    arrived_at is in monotonic seconds; None: not a result, or of a frame of an earlier session.
    """

    event: StreamEvent
    arrived_at: float | None = None


class ResponseQueue:
    """Bounded queue of the events of one stream, for several producers and one consumer."""

    def __init__(self, max_events: int) -> None:
        self._max_events = max_events
        self._queued: deque[QueuedEvent] = deque()
        self._error: BaseException | None = None
        self._is_closed = False
        self._item_added = asyncio.Event()
        self._item_removed = asyncio.Event()

    async def put(self, event: StreamEvent, arrived_at: float | None = None) -> None:
        """Wait for capacity, then add an event; ignored once the queue is closed."""
        await self.wait_for_capacity()
        self.put_nowait(event, arrived_at)

    async def wait_for_capacity(self) -> None:
        """Wait until an event can be added at once."""
        while len(self._queued) >= self._max_events and not self._is_closed:
            self._item_removed.clear()
            await self._item_removed.wait()

    def put_nowait(self, event: StreamEvent, arrived_at: float | None = None) -> None:
        """Add an event regardless of the capacity; ignored once the queue is closed."""
        if not self._is_closed:
            self._queued.append(QueuedEvent(event=event, arrived_at=arrived_at))
            self._item_added.set()

    def put_dropped_nowait(self, dropped: DroppedFrames) -> None:
        """Add dropped frames regardless of the capacity, merged into the last event if possible."""
        last = self._queued[-1].event if self._queued else None
        if (
            isinstance(last, DroppedFrames)
            and last.reason is dropped.reason
            and last.first_index + last.count == dropped.first_index
        ):
            merged = replace(last, count=last.count + dropped.count)
            self._queued[-1] = QueuedEvent(event=merged)
        else:
            self._queued.append(QueuedEvent(event=dropped))
        self._item_added.set()

    def close(self, error: BaseException | None = None) -> None:
        """Mark the end; the error, if any, is raised once all queued events were taken."""
        if not self._is_closed:
            self._is_closed, self._error = True, error
        self._item_added.set()
        self._item_removed.set()

    async def take(self) -> QueuedEvent | None:
        """Wait for the next event; None at the end. Raises the error the queue was closed with."""
        while not self._queued and not self._is_closed:
            self._item_added.clear()
            await self._item_added.wait()
        if not self._queued:
            if self._error is not None:
                raise self._error
            return None
        taken = self._queued.popleft()
        self._item_removed.set()
        return taken
