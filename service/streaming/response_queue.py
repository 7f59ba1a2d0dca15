"""Where a stream's results wait for a client that reads: bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from circumplex.v1 import annotation_pb2 as wire


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedResponse:
    """A response; arrived_at: of a result, when its frame's last byte came, monotonic seconds."""

    response: wire.StreamingAnnotateResponse
    arrived_at: float | None = None


class ResponseQueue:
    """First in, first out; many put, one takes."""

    def __init__(self, max_responses: int) -> None:
        self._max_responses = max_responses
        self._responses: deque[QueuedResponse] = deque()
        self._error: BaseException | None = None
        self._is_closed = False
        self._item_added = asyncio.Event()
        self._item_removed = asyncio.Event()

    async def put(self, queued: QueuedResponse) -> None:
        """Wait for room, then add a reply; one that comes when all is said is not told."""
        await self.wait_for_capacity()
        self.put_nowait(queued)

    async def wait_for_capacity(self) -> None:
        """Until a reply could be put at once."""
        while len(self._responses) >= self._max_responses and not self._is_closed:
            self._item_removed.clear()
            await self._item_removed.wait()

    def put_nowait(self, queued: QueuedResponse) -> None:
        """Add a reply at once, as `put` does where there is room."""
        if not self._is_closed:
            self._responses.append(queued)
            self._item_added.set()

    def put_dropped_nowait(self, dropped: wire.FramesDropped) -> None:
        """Add at once that a frame was dropped: to the last reply, where that says the same."""
        last = self._responses[-1].response.frames_dropped if self._responses else None
        if (
            last is not None
            and last.count
            and last.reason == dropped.reason
            and last.first_index + last.count == dropped.first_index
        ):
            last.count += dropped.count
        else:
            response = wire.StreamingAnnotateResponse(frames_dropped=dropped)
            self._responses.append(QueuedResponse(response=response))
        self._item_added.set()

    def close(self, error: BaseException | None = None) -> None:
        """Nothing more comes; an error is raised where what there is has been taken."""
        if not self._is_closed:
            self._is_closed, self._error = True, error
        self._item_added.set()
        self._item_removed.set()

    async def take(self) -> QueuedResponse | None:
        """The next reply; None: that was all. Raises what the outbox was closed with."""
        while not self._responses and not self._is_closed:
            self._item_added.clear()
            await self._item_added.wait()
        if not self._responses:
            if self._error is not None:
                raise self._error
            return None
        taken = self._responses.popleft()
        self._item_removed.set()
        return taken
