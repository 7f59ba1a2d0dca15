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
from service.pipeline.estimation import Estimator
from service.streaming.flow_control import ResultPacer
from service.streaming.response_queue import QueuedResponse, ResponseQueue
from service.streaming.resume.checkpoint import StreamCheckpoint
from service.streaming.stages.frame_results import FrameResultAssembler, FrameRow

SaveResults = Callable[[Sequence[wire.FrameResult], bool], Awaitable[wire.MediaReleased | None]]
"""Called with results before they are told, and whether they are the last; returns what media
need not be sent again once they are."""


@dataclass(slots=True, kw_only=True)
class FinalStage:
    """The last step of a stream."""

    estimation: Estimator
    result_assembler: FrameResultAssembler
    response_queue: ResponseQueue
    save_results: SaveResults
    pacer: ResultPacer
    make_resume_token: Callable[[int], str]
    """What a final result of this index carries."""
    block_frames: int
    """Frames that are taken on together; the same number as in a job."""
    rows: deque[FrameRow] = field(default_factory=deque[FrameRow])
    """The frames that are not concluded yet, in order."""
    finalized_frames: int = 0
    next_index: int = 0
    """Behind the last concluded frame, as frames were sent."""
    last_frame_seconds: float = -math.inf
    """The time of that frame."""
    last_final_index: int = -1
    """Of the last final result there is."""
    last_delivered_index: int = -1
    """Of the last final result that the client has, or will have: none before is told again."""
    dropped_tracks: list[int] = field(default_factory=list[int])
    is_between_blocks: bool = True
    """Whether a checkpoint may be made."""
    _is_closed: bool = False
    _rows_changed: asyncio.Event = field(default_factory=asyncio.Event)

    def resume_from(self, checkpoint: StreamCheckpoint) -> None:
        """Begin where another session has broken off."""
        self.estimation.tracks = checkpoint.track_manager
        self.result_assembler = checkpoint.result_assembler
        self.finalized_frames = checkpoint.finalized_frames
        self.next_index = checkpoint.position.frames
        self.last_frame_seconds = checkpoint.time_range.last_seconds
        self.dropped_tracks = [*checkpoint.dropped_tracks]

    def notify_rows_changed(self) -> None:
        """Rows may have become complete."""
        self._rows_changed.set()

    def close(self) -> None:
        """No more rows come, and all that there are are complete."""
        self._is_closed = True
        self._rows_changed.set()

    async def run(self) -> None:
        """Work off the rows, block by block, and what is left at the end."""
        while not self._is_closed:
            await self._rows_changed.wait()
            self._rows_changed.clear()
            while self._count_complete_rows() == self.block_frames:
                await self._process_rows(self.block_frames)
        while self.rows:
            await self._process_rows(min(len(self.rows), self.block_frames))
        self.is_between_blocks = False
        async for event in self.estimation.close():
            self._apply_event(event)
        await self._emit_final_results(is_last=True)

    def _count_complete_rows(self) -> int:
        """Complete rows at the front, a block of them at most."""
        count = 0
        for row in self.rows:
            if row.faces is None or row.voice is None or count == self.block_frames:
                break
            count += 1
        return count

    async def _process_rows(self, count: int) -> None:
        self.is_between_blocks = False
        rows = [self.rows.popleft() for _ in range(count)]
        for row in rows:
            self.result_assembler.add_frame(row.arrival)
        frames = [row.arrival.frame for row in rows]
        faces = np.concatenate([row.faces for row in rows if row.faces is not None])
        voice = np.stack([row.voice for row in rows if row.voice is not None])
        async for event in self.estimation.add(frames, faces, voice):
            self._apply_event(event)
        self.finalized_frames += count
        self.next_index = rows[-1].arrival.index + 1
        self.last_frame_seconds = rows[-1].arrival.frame.time_seconds
        await self._emit_final_results()

    def _apply_event(self, event: TimelinePoint | TrackDropped) -> None:
        if isinstance(event, TimelinePoint):
            self.result_assembler.add_point(event)
        else:
            self.result_assembler.drop_track(event.track)
            self.dropped_tracks.append(event.track)

    async def _emit_final_results(self, *, is_last: bool = False) -> None:
        """Tell the results that are final by now, after they have been kept."""
        cast = self.estimation.tracks
        released = [
            (sent, result)
            for sent, result in self.result_assembler.pop_settled(
                cast.finalized_frames, cast.primary_track
            )
            if result.index > self.last_delivered_index
        ]
        self.is_between_blocks = not is_last
        if not released and not is_last:
            return
        self.last_final_index = max(
            [self.last_final_index, *(result.index for _, result in released)]
        )
        until = await self.save_results([result for _, result in released], is_last)
        for number, (sent, result) in enumerate(released):
            await self.pacer.wait(number)
            result.resume_token = self.make_resume_token(result.index)
            response = wire.StreamingAnnotateResponse(frame_result=result)
            await self.response_queue.put(
                QueuedResponse(response=response, arrived_at=sent.arrived_at)
            )
            self.last_delivered_index = result.index
        if until is not None:
            await self.response_queue.put(
                QueuedResponse(response=wire.StreamingAnnotateResponse(media_released=until))
            )
