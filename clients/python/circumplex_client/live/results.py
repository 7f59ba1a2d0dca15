"""Results of a stream as plain values; None where unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from circumplex_client.v1 import annotation_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """The service's limits for a stream; see the .proto."""

    message_bytes: int
    frame_pixels: int
    stream_seconds: float
    buffered_results: int
    waiting_frames: int
    resume_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamAccepted:
    """Sent when the service has accepted or resumed a stream.

    std_meaning: "calibrated", standard deviations of the error; "published_error", that of the
    model's publisher on data of another kind; or "disagreement", of the folds, which is less.
    model: NAME@VERSION, which the stream keeps to its end. domain: "drawn", "photographs" or
    "recordings", what the model has learnt from. flags: caveats of every result. classes: names of
    the model's class probabilities. model_summary: the model and its caveats in one line.
    All of these are None or empty where an older server did not say.
    """

    stream_id: str
    limits: StreamLimits
    weights_sha256: Mapping[str, str]
    std_meaning: str | None = None
    model: str | None = None
    domain: str | None = None
    flags: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    model_summary: str = ""

    @classmethod
    def from_proto(cls, message: pb.ConfigAck) -> StreamAccepted:
        """Convert from protobuf."""
        limit_values = message.limits
        limits = StreamLimits(
            **{name: getattr(limit_values, name) for name in StreamLimits.__slots__}
        )
        return cls(
            stream_id=message.stream_id,
            limits=limits,
            weights_sha256=dict(message.weights_sha256),
            std_meaning=_enum_value_name(pb.StdMeaning, message.std_meaning),
            model=message.model or None,
            domain=message.domain or None,
            flags=tuple(message.flags),
            classes=tuple(message.classes),
            model_summary=message.model_summary,
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
    """Valence and arousal in [-1, 1].

    `*_std`: standard deviations, as `StreamAccepted.std_meaning` says; `*_smoothed`: smoothed over
    time.
    """

    valence: float
    arousal: float
    valence_std: float
    arousal_std: float
    valence_smoothed: float
    arousal_smoothed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackResult:
    """One track in one frame. missing: reason where there is no box.

    class_probabilities: in the order of `StreamAccepted.classes`; empty without a box, and where
    the model has no classes.
    """

    track: int
    box: Box | None
    missing: str | None
    estimate: FaceEstimate | None
    class_probabilities: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameResult:
    """Result of one frame: final ones come once and in order, provisional ones may precede them.

    index: of the frame in the stream. time: seconds. missing: reason where there is no track.
    """

    index: int
    time: float
    is_final: bool
    tracks: tuple[TrackResult, ...]
    missing: str | None

    @classmethod
    def from_proto(cls, message: pb.FrameResult) -> FrameResult:
        """Convert from protobuf."""
        return cls(
            index=message.index,
            time=message.time_seconds,
            is_final=message.is_final,
            tracks=tuple(map(_parse_track, message.tracks)),
            missing=_enum_value_name(pb.MissingReason, message.missing_reason),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesDropped:
    """Frames without a result; reason: "overload" or "unreadable". time: of the first."""

    first_index: int
    count: int
    reason: str | None
    time: float

    @classmethod
    def from_proto(cls, message: pb.FramesDropped) -> FramesDropped:
        """Convert from protobuf."""
        return cls(
            first_index=message.first_index,
            count=message.count,
            reason=_enum_value_name(pb.DropReason, message.reason),
            time=message.time_seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Percentiles of the seconds from a frame's last byte received to its provisional result."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSummary:
    """Last message of a stream.

    primary_track: the track visible longest; None: no face. dropped_tracks: tracks too short to
    count, whose results are void. latency: None without provisional results. modalities_used: what
    the model used of the stream, "face" and "voice".
    """

    frames: int
    frames_dropped: int
    primary_track: int | None
    dropped_tracks: tuple[int, ...]
    flags: tuple[str, ...]
    latency: Latency | None
    modalities_used: tuple[str, ...] = ()

    @classmethod
    def from_proto(cls, message: pb.StreamSummary) -> StreamSummary:
        """Convert from protobuf."""
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
            modalities_used=tuple(message.modalities_used),
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
        class_probabilities=tuple(message.class_probabilities),
    )


class _Enum(Protocol):
    def items(self) -> list[tuple[str, int]]: ...


def _enum_value_name(enum: _Enum, value: int) -> str | None:
    """Shorten `MISSING_REASON_FACE_NOT_FOUND` to `face_not_found`; unknown values to a number."""
    names = {number: name for name, number in enum.items()}
    prefix = names[0].removesuffix("UNSPECIFIED")
    name = names.get(value, str(value)).removeprefix(prefix).lower()
    return name if value else None
