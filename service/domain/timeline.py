"""The answer: one point for every decoded frame."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.domain.clip import Frame
from service.domain.media import Anomalies, Flag, MediaFacts


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
    """One frame's place on the circumplex.

    estimate: None where no face has been seen yet: there is nothing to estimate from.
    A later frame without a face is estimated from the last face seen; `frame.face` is then None.
    """

    frame: Frame
    estimate: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisOpened:
    """The clip could be opened; its facts are known."""

    media: MediaFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesSeen:
    """Progress: frames that have been through the backbones, and how many are expected."""

    done: int
    expected: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisClosed:
    """Every frame has its point."""

    frames: int
    flags: tuple[Flag, ...]
    anomalies: Anomalies = field(default_factory=Anomalies)


AnalysisEvent = AnalysisOpened | FramesSeen | TimelinePoint | AnalysisClosed
