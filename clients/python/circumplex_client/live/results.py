"""What a stream brings back, as plain values; None where nothing is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from circumplex_client.v1 import annotation_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """What the service lets a stream do; see the .proto."""

    message_bytes: int
    frame_pixels: int
    stream_seconds: float
    buffered_results: int
    waiting_frames: int
    resume_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamAccepted:
    """The service has taken a stream, or taken it up again."""

    stream_id: str
    limits: StreamLimits
    weights_sha256: Mapping[str, str]

    @classmethod
    def from_proto(cls, message: pb.ConfigAck) -> StreamAccepted:
        """From the wire."""
        limit_values = message.limits
        limits = StreamLimits(
            **{name: getattr(limit_values, name) for name in StreamLimits.__slots__}
        )
        return cls(
            stream_id=message.stream_id,
            limits=limits,
            weights_sha256=dict(message.weights_sha256),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A face, in pixels of the displayed frame. score: the detector's confidence in [0, 1]."""

    left: float
    top: float
    width: float
    height: float
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceEstimate:
    """Valence and arousal in [-1, 1]. `*_std`: the spread of the six folds; `*_smoothed`: over
    time."""

    valence: float
    arousal: float
    valence_std: float
    arousal_std: float
    valence_smoothed: float
    arousal_smoothed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackResult:
    """One face in one frame. missing: why there is no box."""

    track: int
    box: Box | None
    missing: str | None
    estimate: FaceEstimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameResult:
    """One frame. Its final result comes once, in order; before it, perhaps, a provisional one.

    index: the frame's place in the stream. time: seconds. missing: why there is no track.
    """

    index: int
    time: float
    is_final: bool
    tracks: tuple[TrackResult, ...]
    missing: str | None

    @classmethod
    def from_proto(cls, message: pb.FrameResult) -> FrameResult:
        """From the wire."""
        return cls(
            index=message.index,
            time=message.time_seconds,
            is_final=message.is_final,
            tracks=tuple(map(_parse_track, message.tracks)),
            missing=_enum_value_name(pb.MissingReason, message.missing_reason),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesDropped:
    """Frames that will have no result. reason: "overload" or "unreadable". time: of the first."""

    first_index: int
    count: int
    reason: str | None
    time: float

    @classmethod
    def from_proto(cls, message: pb.FramesDropped) -> FramesDropped:
        """From the wire."""
        return cls(
            first_index=message.first_index,
            count=message.count,
            reason=_enum_value_name(pb.DropReason, message.reason),
            time=message.time_seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Seconds from a frame's last byte received to its provisional result sent."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSummary:
    """The stream has come to its end; nothing follows.

    primary_track: the one that was there most; None: no face was seen. dropped_tracks: too short
    to be a person's, their results do not count. latency: None where nothing was provisional.
    """

    frames: int
    frames_dropped: int
    primary_track: int | None
    dropped_tracks: tuple[int, ...]
    flags: tuple[str, ...]
    latency: Latency | None

    @classmethod
    def from_proto(cls, message: pb.StreamSummary) -> StreamSummary:
        """From the wire."""
        latency_message = message.latency
        latency = Latency(
            p50=latency_message.p50_seconds,
            p95=latency_message.p95_seconds,
            p99=latency_message.p99_seconds,
        )
        return cls(
            frames=message.frames,
            frames_dropped=message.frames_dropped,
            primary_track=message.primary_track or None,
            dropped_tracks=tuple(message.dropped_tracks),
            flags=tuple(message.flags),
            latency=latency if message.HasField("latency") else None,
        )


LiveResult = FrameResult | FramesDropped | StreamSummary


def _parse_track(message: pb.TrackResult) -> TrackResult:
    box = Box(**{name: getattr(message.box, name) for name in Box.__slots__})
    estimate = FaceEstimate(
        **{name: getattr(message.estimate, name) for name in FaceEstimate.__slots__}
    )
    return TrackResult(
        track=message.track,
        box=box if message.HasField("box") else None,
        missing=_enum_value_name(pb.MissingReason, message.missing_reason),
        estimate=estimate if message.HasField("estimate") else None,
    )


class _Enum(Protocol):
    def items(self) -> list[tuple[str, int]]: ...


def _enum_value_name(enum: _Enum, value: int) -> str | None:
    """`MISSING_REASON_FACE_NOT_FOUND` as `face_not_found`; a newer server's as its number."""
    names = {number: name for name, number in enum.items()}
    prefix = names[0].removesuffix("UNSPECIFIED")
    name = names.get(value, str(value)).removeprefix(prefix).lower()
    return name if value else None
