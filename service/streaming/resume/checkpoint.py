"""Checkpoints of streams, and the events that are stored beside them, as bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from importlib.metadata import version
from typing import Final

from service.domain.class_probabilities import ClassProbabilities
from service.domain.clip import Estimate, FaceBox
from service.domain.options import FaceSelection
from service.domain.stream import Snapshot
from service.domain.track_manager import TrackManager, TrackManagerSnapshot
from service.errors import StreamExpired
from service.pipeline.estimation import EstimationParameters
from service.serialization import MalformedDataError, decode, encode
from service.settings import Settings
from service.streaming.config import StreamSessionConfig
from service.streaming.events import (
    DroppedFrames,
    DropReason,
    MediaPosition,
    StoredEvent,
    StreamCompleted,
    StreamResult,
    TrackEstimate,
)
from service.streaming.input import FrameTimeRange
from service.streaming.stages.final import AssemblerSnapshot, FinalStage, FrameResultAssembler

FORMAT_VERSION: Final = 5
"""Raise it when the fields of a checkpoint, or their meaning, change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCheckpoint:
    """State of a stream after a block of processed frames.

    finalized_frames: processed, as the decode process numbers them. position: the next media, as
    they were sent. snapshot: of the decode process there; None for a container.
    frames_without_audio: frames before it whose audio the decode process will return again.
    dropped_frames: dropped so far; dropped_indices: those of them, as sent, after the position.
    """

    finalized_frames: int
    position: MediaPosition
    time_range: FrameTimeRange
    snapshot: Snapshot | None
    frames_without_audio: int
    tracks: TrackManagerSnapshot
    pending_results: AssemblerSnapshot
    last_final_index: int
    dropped_tracks: tuple[int, ...]
    dropped_frames: int
    dropped_indices: tuple[int, ...]

    def restore(self, stage: FinalStage, faces: FaceSelection) -> None:
        """Set a new final stage to the state of the checkpoint."""
        uncertainty = stage.estimation.tracks.uncertainty
        stage.estimation.tracks = TrackManager.from_snapshot(self.tracks, uncertainty)
        stage.result_assembler = FrameResultAssembler.from_snapshot(
            self.pending_results, faces=faces, latest_frames=self.tracks.frames.restore()
        )
        stage.finalized_frames = self.finalized_frames
        stage.next_index = self.position.frames
        stage.last_frame_seconds = self.time_range.last_seconds
        stage.dropped_tracks = [*self.dropped_tracks]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalCheckpoint:
    """State of a stream that was annotated to its end. position: after all its media."""

    position: MediaPosition
    last_final_index: int
    summary: StreamCompleted


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredCheckpoint:
    """Envelope of either kind of checkpoint."""

    stream: StreamCheckpoint | None = None
    final: FinalCheckpoint | None = None


def encode_checkpoint(checkpoint: StreamCheckpoint | FinalCheckpoint) -> bytes:
    """Encode a checkpoint of either kind."""
    if isinstance(checkpoint, StreamCheckpoint):
        return encode(_StoredCheckpoint(stream=checkpoint))
    return encode(_StoredCheckpoint(final=checkpoint))


def decode_checkpoint(data: bytes) -> StreamCheckpoint | FinalCheckpoint:
    """Decode a checkpoint. Raises: StreamExpired: it cannot be read."""
    try:
        stored = decode(data, _StoredCheckpoint)
    except MalformedDataError as error:
        raise StreamExpired("The checkpoint of the stream cannot be read") from error
    checkpoint = stored.stream or stored.final
    if checkpoint is None:
        raise StreamExpired("The checkpoint of the stream cannot be read")
    return checkpoint


_BoxFields = tuple[float, float, float, float, float]
_EstimateFields = tuple[float, float, float, float, float, float]
_TrackFields = tuple[int, _BoxFields | None, _EstimateFields | None, ClassProbabilities]
_FrameFields = tuple[int, float, bool, tuple[_TrackFields, ...], str]
_DroppedFields = tuple[int, int, DropReason, float]
_EventFields = tuple[_FrameFields | None, _DroppedFields | None]
"""Fields of an event without their names, which would be most of its bytes."""


def encode_event(event: StoredEvent) -> bytes:
    """Encode an event."""
    fields = astuple(event)
    return encode((fields, None) if isinstance(event, StreamResult) else (None, fields))


def decode_event(data: bytes) -> StoredEvent:
    """Decode an event. Raises: StreamExpired: it cannot be read."""
    try:
        result, dropped = decode(data, _EventFields)
    except MalformedDataError as error:
        raise StreamExpired("The checkpoint of the stream cannot be read") from error
    if result is not None:
        index, time_seconds, is_final, tracks, resume_token = result
        return StreamResult(
            index=index,
            time_seconds=time_seconds,
            is_final=is_final,
            tracks=tuple(_make_track_result(each) for each in tracks),
            resume_token=resume_token,
        )
    if dropped is None:
        raise StreamExpired("The checkpoint of the stream cannot be read")
    first_index, count, reason, time_seconds = dropped
    return DroppedFrames(
        first_index=first_index, count=count, reason=reason, time_seconds=time_seconds
    )


def _make_track_result(fields: _TrackFields) -> TrackEstimate:
    track, box, estimate, class_probabilities = fields
    return TrackEstimate(
        track=track,
        box=None if box is None else FaceBox.of(box),
        estimate=None if estimate is None else Estimate.of(estimate),
        class_probabilities=class_probabilities,
    )


def client_config_key(config: StreamSessionConfig) -> str:
    """Return the options that a client must not change when it resumes a stream."""
    media = {"kind": type(config.media).__name__, **asdict(config.media)}
    return json.dumps({"media": media, "faces": config.faces})


def server_config_hash(
    settings: Settings, parameters: EstimationParameters, weights: Mapping[str, str]
) -> str:
    """Hash of all that two gateways must have in common to resume each other's streams."""
    parts = {
        "format": [FORMAT_VERSION, version("circumplex")],
        "weights": dict(weights),
        "method": [parameters.window_frames, parameters.hop_frames, parameters.smoothing_seconds],
        "classes": parameters.class_count,
        "block": settings.chunk_frames,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
