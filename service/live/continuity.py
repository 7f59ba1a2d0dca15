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

from service.domain.live import FrameStreamMedia, Snapshot, StreamMedia
from service.live.checkpoint import CHECKPOINT_CODEC, FinalCheckpoint, StreamCheckpoint
from service.live.conclusion import FinalStage
from service.live.keeper import CheckpointWriter
from service.live.pieces import FrameTimeRange, MediaPosition, MediaReader
from service.live.replies import position_to_proto


class Checkpointer:
    """Makes and writes checkpoints; knows what was dropped and what the child has said."""

    def __init__(
        self,
        *,
        media: StreamMedia,
        checkpoint_writer: CheckpointWriter,
        reader: MediaReader,
        checkpoint: StreamCheckpoint | None,
    ) -> None:
        self.checkpoint_writer = checkpoint_writer
        self.dropped_frames = checkpoint.dropped_frames if checkpoint else 0
        self.dropped_indices = set(checkpoint.dropped_indices if checkpoint else ())
        """Frames, as they were sent, that are told to be dropped and lie beyond what is kept."""
        self._reader = reader
        self._needs_snapshot = isinstance(media, FrameStreamMedia)
        self._snapshots: dict[int, tuple[Snapshot, int]] = {}
        self._saved_frames = checkpoint.finalized_frames if checkpoint else 0

    def record_dropped_frame(self, dropped: wire.FramesDropped) -> None:
        """One frame is told to have no result."""
        self.dropped_frames += 1
        self.dropped_indices.add(dropped.first_index)
        self.checkpoint_writer.record_responses(
            [wire.StreamingAnnotateResponse(frames_dropped=dropped)]
        )

    def add_snapshot(
        self, snapshot: Snapshot, frames_with_audio: int, finalized_frames: int
    ) -> None:
        """The child has said how it stands, and so many frames have been heard by then."""
        self._snapshots[snapshot.frames] = snapshot, snapshot.frames - frames_with_audio
        for frames in [each for each in self._snapshots if each < finalized_frames]:
            del self._snapshots[frames]

    async def save(
        self, final_stage: FinalStage, results: Sequence[wire.FrameResult]
    ) -> wire.MediaReleased | None:
        """Keep the state behind the last concluded block, before these results are told.

        Returns: what need never be sent again once they have been told; None: nothing new.
        Raises: StreamSuperseded.
        """
        self.checkpoint_writer.record_responses(
            [wire.StreamingAnnotateResponse(frame_result=each) for each in results]
        )
        checkpoint = self._build_checkpoint(final_stage)
        if checkpoint is None:
            return None
        received = self._reader.position
        if not await self.checkpoint_writer.save(
            await asyncio.to_thread(CHECKPOINT_CODEC.encode, checkpoint), received
        ):
            return None
        self._saved_frames = checkpoint.finalized_frames
        if not self._needs_snapshot:
            return None
        return wire.MediaReleased(until=position_to_proto(checkpoint.position))

    async def save_remaining(self, final_stage: FinalStage) -> None:
        """The session ends before the stream does: keep what has come since the last time."""
        is_further = final_stage.finalized_frames > self._saved_frames
        if self.checkpoint_writer.is_resumable and final_stage.is_between_blocks and is_further:
            await self.save(final_stage, ())

    async def save_final(
        self,
        results: Sequence[wire.FrameResult],
        summary: wire.StreamSummary,
        last_final_index: int,
    ) -> None:
        """Keep the last results and the summary for a client that is cut off before it has them.

        Raises: StreamSuperseded.
        """
        self.checkpoint_writer.record_responses(
            [wire.StreamingAnnotateResponse(frame_result=each) for each in results]
        )
        ending = FinalCheckpoint(
            position=self._reader.position,
            last_final_index=last_final_index,
            summary=summary.SerializeToString(),
        )
        await self.checkpoint_writer.save(CHECKPOINT_CODEC.encode(ending), self._reader.position)

    def _build_checkpoint(self, final_stage: FinalStage) -> StreamCheckpoint | None:
        """Nothing but values that stay as they are while the conclusion waits."""
        snapshot, unheard = self._snapshots.get(final_stage.finalized_frames, (None, 0))
        if self._needs_snapshot and snapshot is None:
            return None
        position = replace(MediaPosition(), frames=final_stage.next_index)
        if snapshot is not None:
            position = replace(position, audio_samples=snapshot.samples)
        self.dropped_indices = {index for index in self.dropped_indices if index >= position.frames}
        return StreamCheckpoint(
            finalized_frames=final_stage.finalized_frames,
            position=position,
            time_range=FrameTimeRange(
                first_seconds=self._reader.time_range.first_seconds,
                last_seconds=final_stage.last_frame_seconds,
            ),
            snapshot=snapshot,
            frames_without_audio=unheard,
            track_manager=final_stage.estimation.tracks,
            result_assembler=final_stage.result_assembler,
            last_final_index=final_stage.last_final_index,
            dropped_tracks=[*final_stage.dropped_tracks],
            dropped_frames=self.dropped_frames,
            dropped_indices=sorted(self.dropped_indices),
        )
