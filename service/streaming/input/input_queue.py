"""Where a stream's media wait for their turn: bounded, with a policy for when there is no room."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from service.domain.stream import StreamFrame, StreamInput
from service.errors import StreamOverrun
from service.streaming.config import OverloadPolicy
from service.streaming.input.media_reader import MediaPosition


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedInput:
    """A piece, and of a frame its place in the stream as it was sent."""

    media_input: StreamInput
    index: int


class InputQueue:
    """First in, first out. One puts, one takes."""

    def __init__(
        self,
        *,
        overload_policy: OverloadPolicy,
        max_frames: int,
        max_bytes: int,
        on_drop: Callable[[QueuedInput], None],
        known_position: MediaPosition,
    ) -> None:
        """Args: drop: told of each frame that is left out. known: what a stream that goes on has
        brought before: until it has caught up the sender waits, whatever the policy.
        """
        self._overload_policy = overload_policy
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._on_drop = on_drop
        self._known_position = known_position
        self._is_catching_up = known_position != MediaPosition()
        self._items: deque[QueuedInput] = deque()
        self._frames = 0
        self._bytes = 0
        self._is_closed = False
        self._item_added = asyncio.Event()
        self._item_removed = asyncio.Event()

    async def put(self, media_input: StreamInput, index: int, position: MediaPosition) -> None:
        """Let a piece in when there is room, or make room; raises StreamOverrun.

        Args: position: behind the piece.
        """
        self._is_catching_up = self._is_catching_up and not self._has_caught_up(position)
        overload = OverloadPolicy.BLOCK if self._is_catching_up else self._overload_policy
        while not self._has_capacity(media_input):
            if overload is OverloadPolicy.FAIL:
                raise StreamOverrun()
            if not (overload is OverloadPolicy.DROP_OLDEST and self._drop_oldest()):
                self._item_removed.clear()
                await self._item_removed.wait()
        self._items.append(QueuedInput(media_input=media_input, index=index))
        self._frames += isinstance(media_input, StreamFrame)
        self._bytes += len(media_input.data)
        self._item_added.set()

    def close(self) -> None:
        """Nothing more will be put."""
        self._is_closed = True
        self._item_added.set()

    async def take(self) -> QueuedInput | None:
        """The next piece; None: there is no more."""
        while not self._items:
            if self._is_closed:
                return None
            self._item_added.clear()
            await self._item_added.wait()
        taken = self._items.popleft()
        self._frames -= isinstance(taken.media_input, StreamFrame)
        self._bytes -= len(taken.media_input.data)
        self._item_removed.set()
        return taken

    def _has_caught_up(self, position: MediaPosition) -> bool:
        """Whether what comes is new, and what a cut off client has kept back has gone through.

        Where frames may be dropped, those that it has kept back are treated as any.
        """
        known, at = self._known_position, position
        is_new = at.frames > known.frames or at.container_bytes > known.container_bytes
        return is_new and (self._overload_policy is OverloadPolicy.DROP_OLDEST or not self._items)

    def _has_capacity(self, media_input: StreamInput) -> bool:
        if not self._items:
            return True
        if isinstance(media_input, StreamFrame) and self._frames >= self._max_frames:
            return False
        return self._bytes + len(media_input.data) <= self._max_bytes

    def _drop_oldest(self) -> bool:
        """Leave out the frame that waits longest; sound is never left out."""
        for place, each in enumerate(self._items):
            if isinstance(each.media_input, StreamFrame):
                del self._items[place]
                self._frames -= 1
                self._bytes -= len(each.media_input.data)
                self._on_drop(each)
                return True
        return False
