"""Final results: frames with face and voice, through the estimation that jobs go through."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from circumplex.v1 import annotation_pb2 as wire

from service.domain.timeline import TimelinePoint, TrackDropped
from service.estimation import Estimation
from service.live.checkpoint import Checkpoint
from service.live.finals import Finals
from service.live.outbox import Outbox, Reply
from service.live.pace import Pace
from service.live.rows import Row

Keep = Callable[[Sequence[wire.FrameResult], bool], Awaitable[wire.MediaReleased | None]]
"""Called with results before they are told, and whether they are the last; returns what media
need not be sent again once they are."""


@dataclass(slots=True, kw_only=True)
class Conclusion:
    """The last step of a stream."""

    estimation: Estimation
    finals: Finals
    outbox: Outbox
    keep: Keep
    pace: Pace
    token_of: Callable[[int], str]
    """What a final result of this index carries."""
    block_frames: int
    """Frames that are taken on together; the same number as in a job."""
    rows: deque[Row] = field(default_factory=deque[Row])
    """The frames that are not concluded yet, in order."""
    frames: int = 0
    next_index: int = 0
    """Behind the last concluded frame, as frames were sent."""
    last_seconds: float = -math.inf
    """The time of that frame."""
    last_index: int = -1
    """Of the last final result there is."""
    told_index: int = -1
    """Of the last final result that the client has, or will have: none before is told again."""
    dropped_tracks: list[int] = field(default_factory=list[int])
    is_between_blocks: bool = True
    """Whether a checkpoint may be made."""
    _is_closed: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def go_on(self, checkpoint: Checkpoint) -> None:
        """Begin where another session has broken off."""
        self.estimation.cast = checkpoint.cast
        self.finals = checkpoint.finals
        self.frames = checkpoint.frames
        self.next_index = checkpoint.position.frames
        self.last_seconds = checkpoint.clock.last_seconds
        self.dropped_tracks = [*checkpoint.dropped_tracks]

    def look(self) -> None:
        """Rows may have become complete."""
        self._changed.set()

    def close(self) -> None:
        """No more rows come, and all that there are are complete."""
        self._is_closed = True
        self._changed.set()

    async def conclude(self) -> None:
        """Work off the rows, block by block, and what is left at the end."""
        while not self._is_closed:
            await self._changed.wait()
            self._changed.clear()
            while self._complete_rows() == self.block_frames:
                await self._take(self.block_frames)
        while self.rows:
            await self._take(min(len(self.rows), self.block_frames))
        self.is_between_blocks = False
        async for event in self.estimation.close():
            self._note(event)
        await self._release(is_last=True)

    def _complete_rows(self) -> int:
        """Complete rows at the front, a block of them at most."""
        count = 0
        for row in self.rows:
            if row.faces is None or row.voice is None or count == self.block_frames:
                break
            count += 1
        return count

    async def _take(self, count: int) -> None:
        self.is_between_blocks = False
        rows = [self.rows.popleft() for _ in range(count)]
        for row in rows:
            self.finals.expect(row.sent)
        frames = [row.sent.frame for row in rows]
        faces = np.concatenate([row.faces for row in rows if row.faces is not None])
        voice = np.stack([row.voice for row in rows if row.voice is not None])
        async for event in self.estimation.add(frames, faces, voice):
            self._note(event)
        self.frames += count
        self.next_index = rows[-1].sent.index + 1
        self.last_seconds = rows[-1].sent.frame.time_seconds
        await self._release()

    def _note(self, event: TimelinePoint | TrackDropped) -> None:
        if isinstance(event, TimelinePoint):
            self.finals.add(event)
        else:
            self.finals.drop(event.track)
            self.dropped_tracks.append(event.track)

    async def _release(self, *, is_last: bool = False) -> None:
        """Tell the results that are final by now, after they have been kept."""
        cast = self.estimation.cast
        released = [
            (sent, result)
            for sent, result in self.finals.release(cast.settled_frames, cast.primary)
            if result.index > self.told_index
        ]
        self.is_between_blocks = not is_last
        if not released and not is_last:
            return
        self.last_index = max([self.last_index, *(result.index for _, result in released)])
        until = await self.keep([result for _, result in released], is_last)
        for number, (sent, result) in enumerate(released):
            await self.pace.wait(number)
            result.resume_token = self.token_of(result.index)
            response = wire.StreamingAnnotateResponse(frame_result=result)
            await self.outbox.put(Reply(response=response, arrived_at=sent.arrived_at))
            self.told_index = result.index
        if until is not None:
            await self.outbox.put(
                Reply(response=wire.StreamingAnnotateResponse(media_released=until))
            )
