"""The answer: a row for every decoded frame, and each track's points on it."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.domain.clip import FaceBox, Frame
from service.domain.media import Anomalies, Flag, MediaInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Valence and arousal in [-1, 1]; `*_std` is the spread of the six folds."""

    valence: float
    arousal: float
    valence_std: float
    arousal_std: float
    valence_smoothed: float
    arousal_smoothed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelinePoint:
    """A track's place on the circumplex in one frame.

    estimate: None where the face has not been seen yet: there is nothing to estimate from.
    A later frame without the face is estimated from the last one seen; `face` is then None.
    """

    track: int
    frame: Frame
    estimate: Estimate | None

    @property
    def face(self) -> FaceBox | None:
        """Where the track's face is in this frame."""
        return self.frame.find_face(self.track)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisOpened:
    """The clip could be opened; its facts are known."""

    media: MediaInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesDecoded:
    """The next frames of the clip; each has a row in the result, whoever is seen in it."""

    times_seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackDropped:
    """A track was too short to be a person's, or there are too many: its points do not count."""

    track: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisProgress:
    """Progress: frames that have been through the backbones, and how many are expected."""

    done: int
    expected: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisClosed:
    """Every track has its points. primary: the track that was there most; None without any."""

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
