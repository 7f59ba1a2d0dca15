"""Where a stream's results wait for a client that reads: bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from circumplex.v1 import annotation_pb2 as wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A response; arrived_at: of a result, when its frame's last byte came, monotonic seconds."""

    response: wire.StreamingAnnotateResponse
    arrived_at: float | None = None


class Outbox:
    """First in, first out; many put, one takes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._replies: deque[Reply] = deque()
        self._error: BaseException | None = None
        self._is_closed = False
        self._has_news = asyncio.Event()
        self._has_room = asyncio.Event()

    async def put(self, reply: Reply) -> None:
        """Wait for room, then add a reply; one that comes when all is said is not told."""
        await self.wait_for_room()
        self.add(reply)

    async def wait_for_room(self) -> None:
        """Until a reply could be put at once."""
        while len(self._replies) >= self._most and not self._is_closed:
            self._has_room.clear()
            await self._has_room.wait()

    def add(self, reply: Reply) -> None:
        """Add a reply at once, as `put` does where there is room."""
        if not self._is_closed:
            self._replies.append(reply)
            self._has_news.set()

    def report(self, dropped: wire.FramesDropped) -> None:
        """Add at once that a frame was dropped: to the last reply, where that says the same."""
        last = self._replies[-1].response.frames_dropped if self._replies else None
        if (
            last is not None
            and last.count
            and last.reason == dropped.reason
            and last.first_index + last.count == dropped.first_index
        ):
            last.count += dropped.count
        else:
            response = wire.StreamingAnnotateResponse(frames_dropped=dropped)
            self._replies.append(Reply(response=response))
        self._has_news.set()

    def close(self, error: BaseException | None = None) -> None:
        """Nothing more comes; an error is raised where what there is has been taken."""
        if not self._is_closed:
            self._is_closed, self._error = True, error
        self._has_news.set()
        self._has_room.set()

    async def take(self) -> Reply | None:
        """The next reply; None: that was all. Raises what the outbox was closed with."""
        while not self._replies and not self._is_closed:
            self._has_news.clear()
            await self._has_news.wait()
        if not self._replies:
            if self._error is not None:
                raise self._error
            return None
        taken = self._replies.popleft()
        self._has_room.set()
        return taken
