"""What one session keeps of its stream, so that another can go on: at another gateway, too.

    finals of a burst are ready ─▶ checkpoint behind the last concluded block ─▶ Redis ─▶ finals

So a client that has a final result can go on behind it; it sends again what lies between the
checkpoint and where it was cut off.

Keeps one stream in the archive while it lives.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from circumplex.v1 import annotation_pb2 as wire

from service.domain.stream import FrameStreamMedia, Snapshot, StreamMedia
from service.errors import QueueUnavailable
from service.streaming.input.media_reader import FrameTimeRange, MediaPosition, MediaReader
from service.streaming.proto_messages import position_to_proto
from service.streaming.resume.checkpoint import CHECKPOINT_CODEC, FinalCheckpoint, StreamCheckpoint
from service.streaming.resume.checkpoint_store import (
    MAX_STORED_RESPONSES,
    CheckpointStore,
    StreamClaim,
)
from service.streaming.resume.resume_token import ResumeToken
from service.streaming.stages.final import FinalStage


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


RENEW_SECONDS: Final = 1.0
"""So often a session looks whether another has taken its stream over."""

log = logging.getLogger(__name__)


class CheckpointWriter:
    """Writes states and told results, and knows whether the stream could be resumed now."""

    def __init__(
        self,
        checkpoint_store: CheckpointStore,
        claim: StreamClaim,
        *,
        response_count: int = 0,
        is_resumed: bool = False,
    ) -> None:
        """Args: entries: told before this session, and kept. is_resumed: from what is kept."""
        self._checkpoint_store = checkpoint_store
        self._claim = claim
        self._pending: list[bytes] = []
        self._first_pending_index = response_count
        self._has_checkpoint = is_resumed
        self._is_outage_logged = False
        self._retained_until = time.monotonic() + checkpoint_store.retention_seconds

    @property
    def is_resumable(self) -> bool:
        """Whether somebody who is cut off now can go on."""
        return self._has_checkpoint and time.monotonic() < self._retained_until

    def make_resume_token(self, index: int) -> str:
        """To go on behind the final result of this frame; empty where that cannot be done."""
        token = ResumeToken(stream_id=self._claim.stream_id, index=index)
        return str(token) if self.is_resumable else ""

    def record_responses(self, responses: Sequence[wire.StreamingAnnotateResponse]) -> None:
        """These are told; they are kept with the next state."""
        self._pending += [each.SerializeToString() for each in responses]
        surplus = max(0, len(self._pending) - MAX_STORED_RESPONSES)
        del self._pending[:surplus]
        self._first_pending_index += surplus

    async def save(self, state: bytes, received: MediaPosition) -> bool:
        """Keep this state and what was noted before it; False: Redis is away, another time.

        Raises: StreamSuperseded.
        """
        first, told = self._first_pending_index, [*self._pending]
        try:
            await self._checkpoint_store.write_checkpoint(self._claim, state, received, first, told)
        except QueueUnavailable as error:
            self._log_outage_once(error)
            return False
        written = first + len(told) - self._first_pending_index
        del self._pending[:written]
        self._first_pending_index += written
        self._has_checkpoint = True
        self._mark_retained()
        return True

    @property
    def renew_seconds(self) -> float:
        """So often `look` has to be called."""
        return min(RENEW_SECONDS, self._checkpoint_store.retention_seconds / 4)

    async def renew(self, received: MediaPosition) -> None:
        """Keep what is kept for longer; raises StreamSuperseded."""
        try:
            if await self._checkpoint_store.renew(self._claim, received):
                self._mark_retained()
            else:
                self._has_checkpoint = False
        except QueueUnavailable as error:
            self._log_outage_once(error)

    def _log_outage_once(self, error: QueueUnavailable) -> None:
        """Say once, until it is over, that nothing is kept."""
        if not self._is_outage_logged:
            log.warning("stream: what comes now is not kept to be resumed: %s", error.detail)
        self._is_outage_logged = True

    def _mark_retained(self) -> None:
        self._is_outage_logged = False
        self._retained_until = time.monotonic() + self._checkpoint_store.retention_seconds
