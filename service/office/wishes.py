"""What a client may say of the clip that it submits."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Final

from service.domain.choices import AnalysisOptions, Priority

MAX_STREAM_INDEX: Final = 999
"""No file that is accepted has a stream in a higher place."""


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
