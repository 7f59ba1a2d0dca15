"""Events of a stream: what a session yields, and a gateway sends to its client.

    StreamOpened ─▶ StreamResult (provisional, final), DroppedFrames, MediaReleased ...
                 ─▶ StreamCompleted; or StreamDraining and an error

Each transport converts them to the messages of its contract.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from service.domain.class_probabilities import ClassProbabilities
from service.domain.clip import Estimate, FaceBox
from service.domain.estimator import EstimatorManifest, Modality
from service.domain.media import Flag


class DropReason(StrEnum):
    """Reason why a frame has no result."""

    OVERLOAD = "overload"
    UNREADABLE = "unreadable"
    """The frame could not be decoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPosition:
    """Counts of each kind of media since the stream began. audio_samples: of one channel."""

    container_bytes: int = 0
    frames: int = 0
    audio_samples: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """Limits of a stream, as announced to its client; see the settings of the same meaning."""

    message_bytes: int
    frame_pixels: int
    stream_seconds: float
    buffered_results: int
    waiting_frames: int
    resume_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOpened:
    """First event of a stream, new or resumed.

    send_from: where the client goes on sending. next_final_index: index of the next final result.
    manifest: of the estimator, which the stream keeps to its end.
    """

    stream_id: str
    limits: SessionLimits
    send_from: MediaPosition
    next_final_index: int
    manifest: EstimatorManifest


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackEstimate:
    """One track in one frame. box: None where its face is not found in the frame."""

    track: int
    box: FaceBox | None
    estimate: Estimate | None
    class_probabilities: ClassProbabilities = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamResult:
    """Result of one frame. index: its place in the stream as it was sent, from 0."""

    index: int
    time_seconds: float
    is_final: bool
    tracks: tuple[TrackEstimate, ...] = ()
    resume_token: str = ""
    """Token that resumes after this result; only final results have one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedFrames:
    """Consecutive frames that have no result. time_seconds: of the first."""

    first_index: int
    count: int
    reason: DropReason
    time_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaReleased:
    """Media before this position need not be sent again, even after a disconnection."""

    until: MediaPosition


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamDraining:
    """The gateway is shutting down: the stream ends and can be resumed at another gateway.

    resume_token: empty where there has been no final result yet.
    """

    resume_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySummary:
    """Percentiles of the seconds from a frame's last byte to its provisional result."""

    p50_seconds: float
    p95_seconds: float
    p99_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCompleted:
    """Last event of a stream.

    dropped_tracks: tracks that were too short; ignore their results. modalities_used: those of the
    estimator that the stream has.
    """

    frames: int
    frames_dropped: int = 0
    primary_track: int | None = None
    dropped_tracks: tuple[int, ...] = ()
    flags: tuple[Flag, ...] = ()
    latency: LatencySummary | None = None
    modalities_used: tuple[Modality, ...] = ()


StoredEvent = StreamResult | DroppedFrames
"""Events that are stored for clients that resume the stream."""
StreamEvent = StreamOpened | StoredEvent | MediaReleased | StreamDraining | StreamCompleted
