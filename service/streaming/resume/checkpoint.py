"""All that it takes to go on with a stream, and where that is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Final

from service.domain.options import FaceSelection
from service.domain.stream import Snapshot
from service.domain.timeline import Estimate, TimelinePoint
from service.domain.track_manager import TRACK_MANAGER_CLASSES, TrackManager
from service.errors import StreamExpired
from service.settings import Settings
from service.streaming.config import StreamSessionConfig
from service.streaming.input.media_reader import FrameTimeRange, MediaPosition
from service.streaming.resume.object_codec import EncodedObjectInvalid, ObjectCodec
from service.streaming.stages.frame_results import FrameArrival, FrameResultAssembler

FORMAT_VERSION: Final = 1
"""To be raised when what a checkpoint's parts mean changes, and their names do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCheckpoint:
    """A stream behind a block of concluded frames.

    frames: concluded, as the child numbers them. position: what comes next in the media, as they
    were sent. snapshot: of the child there; None of a container. unheard: frames before it that
    the child will tell the sound of once more. dropped: how many frames were dropped so far;
    gone: those of them, as they were sent, that lie beyond the position.
    """

    finalized_frames: int
    position: MediaPosition
    time_range: FrameTimeRange
    snapshot: Snapshot | None
    frames_without_audio: int
    track_manager: TrackManager
    result_assembler: FrameResultAssembler
    last_final_index: int
    dropped_tracks: list[int]
    dropped_frames: int
    dropped_indices: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalCheckpoint:
    """A stream that has come to its end. position: of all its media; summary: serialised."""

    position: MediaPosition
    last_final_index: int
    summary: bytes


CHECKPOINT_CODEC: Final = ObjectCodec(
    (
        *(
            StreamCheckpoint,
            FinalCheckpoint,
            MediaPosition,
            FrameTimeRange,
            Snapshot,
            FrameResultAssembler,
            FrameArrival,
            TimelinePoint,
            Estimate,
        ),
        *(FaceSelection, *TRACK_MANAGER_CLASSES),
    )
)


def decode_checkpoint(state: bytes) -> StreamCheckpoint | FinalCheckpoint:
    """Raises StreamGone: nobody can read it."""
    try:
        return CHECKPOINT_CODEC.decode(state)
    except EncodedObjectInvalid as error:
        raise StreamExpired("What was kept of the stream cannot be read") from error


def client_config_key(config: StreamSessionConfig) -> str:
    """What a client chooses once for its stream."""
    media = {"kind": type(config.media).__name__, **asdict(config.media)}
    return json.dumps({"media": media, "faces": config.faces})


def server_config_hash(settings: Settings, weights: Mapping[str, str]) -> str:
    """What must be the same at two gateways for one to go on where the other broke off."""
    told = {
        "format": [FORMAT_VERSION, CHECKPOINT_CODEC.layout_hash, version("circumplex")],
        "weights": dict(weights),
        "method": [settings.window_frames, settings.hop_frames, settings.smoothing_seconds],
        "block": settings.chunk_frames,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
