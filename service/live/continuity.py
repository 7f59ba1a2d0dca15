"""What one session keeps of its stream, so that another can go on: at another gateway, too.

    finals of a burst are ready ─▶ checkpoint behind the last concluded block ─▶ Redis ─▶ finals

So a client that has a final result can go on behind it; it sends again what lies between the
checkpoint and where it was cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from circumplex.v1 import annotation_pb2 as wire

from service.domain.live import FrameMedia, LiveMedia, Snapshot
from service.live.checkpoint import PARCELS, Checkpoint, Ending
from service.live.conclusion import Conclusion
from service.live.keeper import Keeper
from service.live.pieces import Clock, PieceReader, Position
from service.live.replies import show_position


class Continuity:
    """Makes and writes checkpoints; knows what was dropped and what the child has said."""

    def __init__(
        self,
        *,
        media: LiveMedia,
        keeper: Keeper,
        reader: PieceReader,
        start: Checkpoint | None,
    ) -> None:
        self.keeper = keeper
        self.dropped = start.dropped if start else 0
        self.gone = set(start.gone if start else ())
        """Frames, as they were sent, that are told to be dropped and lie beyond what is kept."""
        self._reader = reader
        self._needs_snapshot = isinstance(media, FrameMedia)
        self._snapshots: dict[int, tuple[Snapshot, int]] = {}
        self._saved_frames = start.frames if start else 0

    def drop(self, dropped: wire.FramesDropped) -> None:
        """One frame is told to have no result."""
        self.dropped += 1
        self.gone.add(dropped.first_index)
        self.keeper.note([wire.StreamingAnnotateResponse(frames_dropped=dropped)])

    def remember(self, snapshot: Snapshot, heard_frames: int, concluded_frames: int) -> None:
        """The child has said how it stands, and so many frames have been heard by then."""
        self._snapshots[snapshot.frames] = snapshot, snapshot.frames - heard_frames
        for frames in [each for each in self._snapshots if each < concluded_frames]:
            del self._snapshots[frames]

    async def save(
        self, conclusion: Conclusion, results: Sequence[wire.FrameResult]
    ) -> wire.MediaReleased | None:
        """Keep the state behind the last concluded block, before these results are told.

        Returns: what need never be sent again once they have been told; None: nothing new.
        Raises: StreamSuperseded.
        """
        self.keeper.note([wire.StreamingAnnotateResponse(frame_result=each) for each in results])
        checkpoint = self._checkpoint(conclusion)
        if checkpoint is None:
            return None
        received = self._reader.position
        if not await self.keeper.save(await asyncio.to_thread(PARCELS.pack, checkpoint), received):
            return None
        self._saved_frames = checkpoint.frames
        if not self._needs_snapshot:
            return None
        return wire.MediaReleased(until=show_position(checkpoint.position))

    async def save_rest(self, conclusion: Conclusion) -> None:
        """The session ends before the stream does: keep what has come since the last time."""
        is_further = conclusion.frames > self._saved_frames
        if self.keeper.is_resumable and conclusion.is_between_blocks and is_further:
            await self.save(conclusion, ())

    async def end(
        self, results: Sequence[wire.FrameResult], summary: wire.StreamSummary, last_index: int
    ) -> None:
        """Keep the last results and the summary for a client that is cut off before it has them.

        Raises: StreamSuperseded.
        """
        self.keeper.note([wire.StreamingAnnotateResponse(frame_result=each) for each in results])
        ending = Ending(
            position=self._reader.position,
            last_index=last_index,
            summary=summary.SerializeToString(),
        )
        await self.keeper.save(PARCELS.pack(ending), self._reader.position)

    def _checkpoint(self, conclusion: Conclusion) -> Checkpoint | None:
        """Nothing but values that stay as they are while the conclusion waits."""
        snapshot, unheard = self._snapshots.get(conclusion.frames, (None, 0))
        if self._needs_snapshot and snapshot is None:
            return None
        position = replace(Position(), frames=conclusion.next_index)
        if snapshot is not None:
            position = replace(position, audio_samples=snapshot.samples)
        self.gone = {index for index in self.gone if index >= position.frames}
        return Checkpoint(
            frames=conclusion.frames,
            position=position,
            clock=Clock(
                first_seconds=self._reader.clock.first_seconds,
                last_seconds=conclusion.last_seconds,
            ),
            snapshot=snapshot,
            unheard=unheard,
            cast=conclusion.estimation.cast,
            finals=conclusion.finals,
            last_index=conclusion.last_index,
            dropped_tracks=[*conclusion.dropped_tracks],
            dropped=self.dropped,
            gone=sorted(self.gone),
        )
