"""Options of one clip: selection of faces, streams of the file, priority."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Final

MAX_STREAM_INDEX: Final = 999
"""Greatest index of a stream in an accepted file."""


class FaceSelection(StrEnum):
    """Tracks whose valence and arousal a result contains."""

    PRIMARY = "primary"
    """The track present in most frames."""
    ALL = "all"
    """Every track, each with its own columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisOptions:
    """Analysis options of one clip; None: chosen by documented rules.

    video_stream, audio_stream: places among all streams of the file, as ffprobe counts them.
    """

    faces: FaceSelection = FaceSelection.PRIMARY
    video_stream: int | None = None
    audio_stream: int | None = None


class Priority(StrEnum):
    """Order in which queued jobs are run."""

    INTERACTIVE = "interactive"
    """Before all bulk jobs."""
    BULK = "bulk"
    """In fair shares among callers, as workers become free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionOptions:
    """Options of a submitted clip: of its analysis, its model, and its priority.

    model: NAME or NAME@VERSION; None: the service's default.
    """

    analysis: AnalysisOptions = field(default_factory=AnalysisOptions)
    model: str | None = None
    priority: Priority = Priority.BULK

    def to_canonical_json(self) -> str:
        """Return the options that differ from the defaults; equal options give equal text."""
        values = {**asdict(self.analysis), "model": self.model, "priority": self.priority}
        default = {**asdict(AnalysisOptions()), "model": None, "priority": Priority.BULK}
        changed = {name: value for name, value in values.items() if value != default[name]}
        return json.dumps(changed, separators=(",", ":"))
