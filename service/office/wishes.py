"""What a client may say of the clip that it submits."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Final

from service.domain.choices import Choices, Priority

MAX_STREAM: Final = 999
"""No file that is accepted has a stream in a higher place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """The choices for a clip, and whose turn it is."""

    choices: Choices = field(default_factory=Choices)
    priority: Priority = Priority.BULK

    def as_text(self) -> str:
        """What was chosen otherwise than it is by rule: the same wishes, the same text."""
        said = {**asdict(self.choices), "priority": self.priority}
        default = {**asdict(Choices()), "priority": Priority.BULK}
        chosen = {name: value for name, value in said.items() if value != default[name]}
        return json.dumps(chosen, separators=(",", ":"))
