"""Checkpoints of one running stream, written to Redis so that any gateway can resume it.

    final results are made ─▶ checkpoint after the last processed block ─▶ Redis ─▶ results sent

A client that has a final result can therefore resume after it; it sends the media between the
checkpoint and the disconnection again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Final

from service.domain.stream import FrameStreamMedia, Snapshot, StreamMedia
from service.errors import QueueUnavailable
from service.streaming.events import (
    DroppedFrames,
    MediaPosition,
    MediaReleased,
    StoredEvent,
    StreamCompleted,
    StreamResult,
)
from service.streaming.input import FrameTimeRange, MediaReader
from service.streaming.resume.checkpoint import (
    FinalCheckpoint,
    StreamCheckpoint,
    encode_checkpoint,
    encode_event,
)
from service.streaming.resume.checkpoint_store import (
    MAX_STORED_RESPONSES,
    CheckpointStore,
    StreamClaim,
)
from service.streaming.resume.resume_point import ResumeToken
from service.streaming.stages.final import FinalStage

CLAIM_RENEW_SECONDS: Final = 1.0
"""Longest interval at which a session renews its claim, and notices that it was superseded."""

log = logging.getLogger(__name__)


class CheckpointWriter:
    """Writes checkpoints and stored events, and tracks whether the stream can be resumed."""

    def __init__(
        self,
        checkpoint_store: CheckpointStore,
        claim: StreamClaim,
        *,
        response_count: int = 0,
        is_resumed: bool = False,
    ) -> None:
        """Write for one claim.

        Args: response_count: events stored before. is_resumed: there is a checkpoint already.
        """
        self._checkpoint_store = checkpoint_store
        self._claim = claim
        self._pending: list[bytes] = []
        self._first_pending_index = response_count
        self._has_checkpoint = is_resumed
        self._is_outage_logged = False
        self._retained_until = time.monotonic() + checkpoint_store.retention_seconds

    @property
    def is_resumable(self) -> bool:
        """Return whether a client that is disconnected now can resume."""
        return self._has_checkpoint and time.monotonic() < self._retained_until

    def make_resume_token(self, index: int) -> str:
        """Return the token that resumes after this final result; empty if not resumable."""
        token = ResumeToken(stream_id=self._claim.stream_id, index=index)
        return str(token) if self.is_resumable else ""

    def record_events(self, events: Sequence[StoredEvent]) -> None:
        """Add events to be written with the next checkpoint."""
        self._pending += [encode_event(each) for each in events]
        surplus = max(0, len(self._pending) - MAX_STORED_RESPONSES)
        del self._pending[:surplus]
        self._first_pending_index += surplus

    async def save(self, state: bytes, received: MediaPosition) -> bool:
        """Write a checkpoint and the events recorded so far.

        Returns: False where Redis is unavailable: the events are written with a later checkpoint.
        Raises: StreamSuperseded.
        """
        first, events = self._first_pending_index, [*self._pending]
        try:
            await self._checkpoint_store.write_checkpoint(
                self._claim, state, received, first, events
            )
        except QueueUnavailable as error:
            self._log_outage_once(error)
            return False
        written = first + len(events) - self._first_pending_index
        del self._pending[:written]
        self._first_pending_index += written
        self._has_checkpoint = True
        self._mark_retained()
        return True

    @property
    def renew_seconds(self) -> float:
        """Interval at which `renew` has to be called."""
        return min(CLAIM_RENEW_SECONDS, self._checkpoint_store.retention_seconds / 4)

    async def renew(self, received: MediaPosition) -> None:
        """Extend the retention of the stream; raises StreamSuperseded."""
        try:
            if await self._checkpoint_store.renew(self._claim, received):
                self._mark_retained()
            else:
                self._has_checkpoint = False
        except QueueUnavailable as error:
            self._log_outage_once(error)

    def _log_outage_once(self, error: QueueUnavailable) -> None:
        """Log the first failure of an outage."""
        if not self._is_outage_logged:
            log.warning("stream: checkpoints cannot be written: %s", error.detail)
        self._is_outage_logged = True

    def _mark_retained(self) -> None:
        self._is_outage_logged = False
        self._retained_until = time.monotonic() + self._checkpoint_store.retention_seconds


class Checkpointer:
    """Makes checkpoints from the state of the final stage and snapshots of the decode process."""

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
        """Places in the stream of the dropped frames after the latest checkpoint."""
        self._reader = reader
        self._needs_snapshot = isinstance(media, FrameStreamMedia)
        self._snapshots: dict[int, tuple[Snapshot, int]] = {}
        self._saved_frames = checkpoint.finalized_frames if checkpoint else 0

    def record_dropped_frame(self, dropped: DroppedFrames) -> None:
        """Record one dropped frame."""
        self.dropped_frames += 1
        self.dropped_indices.add(dropped.first_index)
        self.checkpoint_writer.record_events([dropped])

    def add_snapshot(
        self, snapshot: Snapshot, frames_with_audio: int, finalized_frames: int
    ) -> None:
        """Add a snapshot of the decode process.

        Args: frames_with_audio: frames whose audio the process had returned at that time.
        """
        self._snapshots[snapshot.frames] = snapshot, snapshot.frames - frames_with_audio
        for frames in [each for each in self._snapshots if each < finalized_frames]:
            del self._snapshots[frames]

    async def save(
        self, final_stage: FinalStage, results: Sequence[StreamResult]
    ) -> MediaReleased | None:
        """Write a checkpoint after the last processed block, before these results are sent.

        Returns: the media that need not be sent again once they are; None: no more than before.
        Raises: StreamSuperseded.
        """
        self.checkpoint_writer.record_events(results)
        checkpoint = self._make_checkpoint(final_stage)
        if checkpoint is None:
            return None
        received = self._reader.position
        state = await asyncio.to_thread(encode_checkpoint, checkpoint)
        if not await self.checkpoint_writer.save(state, received):
            return None
        self._saved_frames = checkpoint.finalized_frames
        return MediaReleased(until=checkpoint.position) if self._needs_snapshot else None

    async def save_remaining(self, final_stage: FinalStage) -> None:
        """Write a last checkpoint of a session that ends before its stream, if there is progress.

        Raises: StreamSuperseded.
        """
        is_further = final_stage.finalized_frames > self._saved_frames
        if self.checkpoint_writer.is_resumable and final_stage.is_between_blocks and is_further:
            await self.save(final_stage, ())

    async def save_final(
        self, results: Sequence[StreamResult], summary: StreamCompleted, last_final_index: int
    ) -> None:
        """Store the last results and the summary, for a client that is disconnected before them.

        Raises: StreamSuperseded.
        """
        self.checkpoint_writer.record_events(results)
        checkpoint = FinalCheckpoint(
            position=self._reader.position, last_final_index=last_final_index, summary=summary
        )
        await self.checkpoint_writer.save(encode_checkpoint(checkpoint), self._reader.position)

    def _make_checkpoint(self, final_stage: FinalStage) -> StreamCheckpoint | None:
        """Return the state after the last block; None: its snapshot has not arrived yet."""
        snapshot, frames_without_audio = self._snapshots.get(
            final_stage.finalized_frames, (None, 0)
        )
        if self._needs_snapshot and snapshot is None:
            return None
        position = MediaPosition(
            frames=final_stage.next_index,
            audio_samples=0 if snapshot is None else snapshot.samples,
        )
        self.dropped_indices = {index for index in self.dropped_indices if index >= position.frames}
        return StreamCheckpoint(
            finalized_frames=final_stage.finalized_frames,
            position=position,
            time_range=FrameTimeRange(
                first_seconds=self._reader.time_range.first_seconds,
                last_seconds=final_stage.last_frame_seconds,
            ),
            snapshot=snapshot,
            frames_without_audio=frames_without_audio,
            tracks=final_stage.estimation.tracks.snapshot(),
            pending_results=final_stage.result_assembler.snapshot(),
            last_final_index=final_stage.last_final_index,
            dropped_tracks=tuple(final_stage.dropped_tracks),
            dropped_frames=self.dropped_frames,
            dropped_indices=tuple(sorted(self.dropped_indices)),
        )
