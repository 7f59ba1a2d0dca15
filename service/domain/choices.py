"""What whoever submits a clip may choose for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FaceSelection(StrEnum):
    """Whose valence and arousal a result holds."""

    PRIMARY = "primary"
    """The face that is there most."""
    ALL = "all"
    """Every face that is followed, each with columns of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisOptions:
    """The choices for one clip; those left out are made by documented rules.

    video_stream, audio_stream: places among all streams of the file, as ffprobe counts them.
    """

    faces: FaceSelection = FaceSelection.PRIMARY
    video_stream: int | None = None
    audio_stream: int | None = None


class Priority(StrEnum):
    """Whose turn comes first."""

    INTERACTIVE = "interactive"
    """Somebody waits for it: before all bulk work."""
    BULK = "bulk"
    """Done as workers come free, in fair shares."""
