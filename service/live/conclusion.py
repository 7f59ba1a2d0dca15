"""Final results: frames with face and voice, through the estimation that jobs go through."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from circumplex.v1 import annotation_pb2 as wire

from service.domain.timeline import TimelinePoint, TrackDropped
from service.estimation import Estimation
from service.live.finals import Finals
from service.live.outbox import Outbox, Reply
from service.live.rows import Row


@dataclass(slots=True, kw_only=True)
class Conclusion:
    """The last step of a stream."""

    stream_id: str
    estimation: Estimation
    finals: Finals
    outbox: Outbox
    block_frames: int
    """Frames that are taken on together; the same number as in a job."""
    rows: deque[Row] = field(default_factory=deque[Row])
    """The frames that are not concluded yet, in order."""
    frames: int = 0
    dropped_tracks: list[int] = field(default_factory=list[int])
    _is_closed: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

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
        async for event in self.estimation.close():
            self._note(event)
        await self._release()

    def _complete_rows(self) -> int:
        """Complete rows at the front, a block of them at most."""
        count = 0
        for row in self.rows:
            if row.faces is None or row.voice is None or count == self.block_frames:
                break
            count += 1
        return count

    async def _take(self, count: int) -> None:
        rows = [self.rows.popleft() for _ in range(count)]
        for row in rows:
            self.finals.expect(row.sent)
        frames = [row.sent.frame for row in rows]
        faces = np.concatenate([row.faces for row in rows if row.faces is not None])
        voice = np.stack([row.voice for row in rows if row.voice is not None])
        async for event in self.estimation.add(frames, faces, voice):
            self._note(event)
        self.frames += count
        await self._release()

    def _note(self, event: TimelinePoint | TrackDropped) -> None:
        if isinstance(event, TimelinePoint):
            self.finals.add(event)
        else:
            self.finals.drop(event.track)
            self.dropped_tracks.append(event.track)

    async def _release(self) -> None:
        cast = self.estimation.cast
        for sent, result in self.finals.release(cast.settled_frames, cast.primary, self.stream_id):
            response = wire.StreamingAnnotateResponse(frame_result=result)
            await self.outbox.put(Reply(response=response, arrived_at=sent.arrived_at))
