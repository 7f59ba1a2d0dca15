"""Options of one clip: whose faces, which streams of the file, which priority."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Final

MAX_STREAM_INDEX: Final = 999
"""No file that is accepted has a stream in a higher place."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionOptions:
    """The choices for a clip, and whose turn it is."""

    analysis: AnalysisOptions = field(default_factory=AnalysisOptions)
    priority: Priority = Priority.BULK

    def to_canonical_json(self) -> str:
        """What was chosen otherwise than it is by rule: the same wishes, the same text."""
        values = {**asdict(self.analysis), "priority": self.priority}
        default = {**asdict(AnalysisOptions()), "priority": Priority.BULK}
        changed = {name: value for name, value in values.items() if value != default[name]}
        return json.dumps(changed, separators=(",", ":"))
