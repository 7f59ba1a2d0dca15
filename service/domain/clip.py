"""Frames, faces and chunks of a clip, and the timeline of its analysis: events, rows and points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np

from service.domain.array_types import Float32Array, Float64Array, Int64Array, UInt8Array
from service.domain.class_probabilities import ClassProbabilities
from service.domain.media import Anomalies, Flag, MediaInfo

MAX_FACES: Final = 16
"""Upper bound of the setting `max_faces`: faces tracked in one frame."""
EXTRACTION_STAGES: Final = ("decode", "face", "sound")
"""Steps of the extraction, before the backbones."""


class MissingReason(StrEnum):
    """Reason why a frame has no face of a track."""

    FACE_NOT_FOUND = "face_not_found"


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceBox:
    """A face in pixels of the displayed frame (rotation and pixel aspect applied)."""

    left: float
    top: float
    width: float
    height: float
    score: float
    """The detector's confidence in [0, 1]."""

    @classmethod
    def of(cls, values: Sequence[float]) -> FaceBox:
        """Build a box from its five fields, in order."""
        return cls(**dict(zip(cls.__dataclass_fields__, values, strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedFace:
    """A face in one frame. track: its number, from 1, the same throughout the clip."""

    track: int
    box: FaceBox


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One decoded frame: its ordinal, its presentation time and its faces, one a track."""

    index: int
    time_seconds: float
    faces: tuple[TrackedFace, ...] = ()

    def find_face(self, track: int) -> FaceBox | None:
        """Return the box of a track's face; None where the frame does not show it."""
        return next((face.box for face in self.faces if face.track == track), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesSnapshot:
    """Consecutive frames as columns, for checkpoints.

    times_seconds, face_counts: (T,); tracks: (N,) and boxes: (N, 5), faces frame after frame.
    """

    first_index: int
    times_seconds: Float64Array
    face_counts: Int64Array
    tracks: Int64Array
    boxes: Float64Array

    @classmethod
    def of(cls, frames: Sequence[Frame]) -> FramesSnapshot:
        """Snapshot frames whose indexes have no gaps."""
        faces = [face for frame in frames for face in frame.faces]
        boxes = [astuple(face.box) for face in faces]
        return cls(
            first_index=frames[0].index if frames else 0,
            times_seconds=np.array([frame.time_seconds for frame in frames], np.float64),
            face_counts=np.array([len(frame.faces) for frame in frames], np.int64),
            tracks=np.array([face.track for face in faces], np.int64),
            boxes=np.array(boxes, np.float64).reshape(-1, 5),
        )

    def restore(self) -> list[Frame]:
        """Return the frames."""
        faces = (
            TrackedFace(
                track=track,
                box=FaceBox.of(box),
            )
            for track, box in zip(self.tracks.tolist(), self.boxes.tolist(), strict=True)
        )
        return [
            Frame(index=index, time_seconds=seconds, faces=tuple(next(faces) for _ in range(count)))
            for index, (seconds, count) in enumerate(
                zip(self.times_seconds.tolist(), self.face_counts.tolist(), strict=True),
                start=self.first_index,
            )
        ]


@dataclass(slots=True, kw_only=True)
class TrackStatistics:
    """Frames in which a track's face was found; area: of the face in them, square pixels, summed.

    first_index and last_index are -1 before the first of them.
    """

    first_index: int = -1
    last_index: int = -1
    observed_frames: int = 0
    area: float = 0.0

    def update(self, index: int, box: FaceBox) -> None:
        """Count a frame with the face."""
        if not self.observed_frames:
            self.first_index = index
        self.last_index = index
        self.observed_frames += 1
        self.area += box.width * box.height

    @property
    def rank(self) -> tuple[int, float, int]:
        """Sort key: frames, mean area, earliness; the greatest is the primary track."""
        mean_area = self.area / max(self.observed_frames, 1)
        return self.observed_frames, mean_area, -self.first_index


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Consecutive frames and the inputs of the backbones for them.

    crops: (N, 3, 112, 112) uint8 RGB, one for each face, frame after frame.
    waveform: (S,) float32 in [-1, 1], mono 16 kHz, on a 10 ms grid, covering every patch.
    patch_starts: (T,) int64, where each frame's patch starts in `waveform`, in 10 ms hops.
    stage_seconds: busy time of each of the EXTRACTION_STAGES that made this chunk.
    """

    frames: tuple[Frame, ...]
    crops: UInt8Array
    waveform: Float32Array
    patch_starts: Int64Array
    stage_seconds: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipOpened:
    """The first event of an extraction."""

    media: MediaInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipClosed:
    """The last event of an extraction that reached the end."""

    frames: int
    flags: tuple[Flag, ...] = ()
    anomalies: Anomalies = field(default_factory=Anomalies)


ExtractionEvent = ClipOpened | Chunk | ClipClosed
"""Events of an extraction, in this order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Valence and arousal in [-1, 1]; `*_std`: their standard deviations (domain/uncertainty)."""

    valence: float
    arousal: float
    valence_std: float
    arousal_std: float
    valence_smoothed: float
    arousal_smoothed: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Build an estimate from its six fields, in order."""
        return cls(**dict(zip(cls.__dataclass_fields__, values, strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelinePoint:
    """A track's position on the circumplex in one frame.

    estimate: None before the track's first face. A later frame without the face is estimated from
    the last one found; `face` is then None, and there are no class probabilities.
    """

    track: int
    frame: Frame
    estimate: Estimate | None
    class_probabilities: ClassProbabilities = ()

    @property
    def face(self) -> FaceBox | None:
        """The box of the track's face in this frame."""
        return self.frame.find_face(self.track)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisOpened:
    """The clip was opened."""

    media: MediaInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesDecoded:
    """The next frames of the clip; each has a row in the result, with or without a face."""

    times_seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackDropped:
    """A track was dropped, being too short or one too many: its points do not count."""

    track: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisProgress:
    """Frames that have been through the backbones, and how many are expected; None: unknown."""

    done: int
    expected: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisClosed:
    """End of the analysis: every track has its points. primary: None without any track."""

    frames: int
    flags: tuple[Flag, ...]
    anomalies: Anomalies = field(default_factory=Anomalies)
    primary: int | None = None


AnalysisEvent = (
    AnalysisOpened
    | FramesDecoded
    | AnalysisProgress
    | TimelinePoint
    | TrackDropped
    | AnalysisClosed
)
