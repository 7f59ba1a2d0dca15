"""Where a stream's media wait for their turn: bounded, with a policy for when there is no room."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from service.domain.live import LiveFrame, LivePiece
from service.errors import StreamOverrun
from service.live.config import Overload
from service.live.pieces import Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A piece, and of a frame its place in the stream as it was sent."""

    piece: LivePiece
    index: int


class Intake:
    """First in, first out. One puts, one takes."""

    def __init__(
        self,
        *,
        overload: Overload,
        max_frames: int,
        max_bytes: int,
        drop: Callable[[Waiting], None],
        known: Position,
    ) -> None:
        """Args: drop: told of each frame that is left out. known: what a stream that goes on has
        brought before: until it has caught up the sender waits, whatever the policy.
        """
        self._overload = overload
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._drop = drop
        self._known = known
        self._is_behind = known != Position()
        self._waiting: deque[Waiting] = deque()
        self._frames = 0
        self._bytes = 0
        self._has_ended = False
        self._has_news = asyncio.Event()
        self._has_left = asyncio.Event()

    async def put(self, piece: LivePiece, index: int, position: Position) -> None:
        """Let a piece in when there is room, or make room; raises StreamOverrun.

        Args: position: behind the piece.
        """
        self._is_behind = self._is_behind and not self._has_caught_up(position)
        overload = Overload.BLOCK if self._is_behind else self._overload
        while not self._has_room(piece):
            if overload is Overload.FAIL:
                raise StreamOverrun()
            if not (overload is Overload.DROP_OLDEST and self._drop_oldest()):
                self._has_left.clear()
                await self._has_left.wait()
        self._waiting.append(Waiting(piece=piece, index=index))
        self._frames += isinstance(piece, LiveFrame)
        self._bytes += len(piece.data)
        self._has_news.set()

    def end(self) -> None:
        """Nothing more will be put."""
        self._has_ended = True
        self._has_news.set()

    async def take(self) -> Waiting | None:
        """The next piece; None: there is no more."""
        while not self._waiting:
            if self._has_ended:
                return None
            self._has_news.clear()
            await self._has_news.wait()
        taken = self._waiting.popleft()
        self._frames -= isinstance(taken.piece, LiveFrame)
        self._bytes -= len(taken.piece.data)
        self._has_left.set()
        return taken

    def _has_caught_up(self, position: Position) -> bool:
        """Whether what comes is new, and what a cut off client has kept back has gone through.

        Where frames may be dropped, those that it has kept back are treated as any.
        """
        known, at = self._known, position
        is_new = at.frames > known.frames or at.container_bytes > known.container_bytes
        return is_new and (self._overload is Overload.DROP_OLDEST or not self._waiting)

    def _has_room(self, piece: LivePiece) -> bool:
        if not self._waiting:
            return True
        if isinstance(piece, LiveFrame) and self._frames >= self._max_frames:
            return False
        return self._bytes + len(piece.data) <= self._max_bytes

    def _drop_oldest(self) -> bool:
        """Leave out the frame that waits longest; sound is never left out."""
        for place, each in enumerate(self._waiting):
            if isinstance(each.piece, LiveFrame):
                del self._waiting[place]
                self._frames -= 1
                self._bytes -= len(each.piece.data)
                self._drop(each)
                return True
        return False
