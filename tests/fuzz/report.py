"""Findings of a fuzz run: counts, suspicious inputs, and the verdict."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from service.errors import ClipTooCostly, DecoderOutOfMemory, DecoderTimedOut
from tests.fuzz.in_process_pipeline import Outcome, Verdict
from tests.fuzz.inputs import FuzzInput

_SLOWEST_COUNT: Final = 10
TIME_LIMIT_CODES: Final = (DecoderTimedOut.code, ClipTooCostly.code)
_MAX_SAVED: Final = 500
VIOLATIONS: Final = ("deaths", "hangs", "defects", "leaks")


@dataclass(slots=True)
class FuzzFindings:
    """Findings so far; suspicious inputs are saved as files in `folder`."""

    folder: Path
    inputs: int = 0
    service_inputs: int = 0
    codes: Counter[str] = field(default_factory=Counter[str])
    service_codes: Counter[str] = field(default_factory=Counter[str])
    verdicts: Counter[Verdict] = field(default_factory=Counter[Verdict])
    saved: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    disagreements: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    slowest: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    parts_lost: list[str] = field(default_factory=list[str])
    leaks: list[str] = field(default_factory=list[str])

    def add(self, fuzz_input: FuzzInput, outcome: Outcome, through_service: Outcome | None) -> None:
        """Count the outcomes of an input, in process and through the service."""
        self.inputs += 1
        self.codes[outcome.code] += 1
        self._record_outcome(fuzz_input, outcome, "in_process")
        if through_service is None:
            return
        self.service_inputs += 1
        self.service_codes[through_service.code] += 1
        self._record_outcome(fuzz_input, through_service, "service")
        if through_service.code != outcome.code and fuzz_input.data:
            codes = {"in_process": outcome.code, "service": through_service.code}
            self.disagreements.append({"name": fuzz_input.name, **codes})

    def summary(self) -> dict[str, Any]:
        """Summary for the JSON report."""
        return {
            "inputs": self.inputs,
            "deaths": self.verdicts[Verdict.DEATH] + len(self.parts_lost),
            "hangs": self.verdicts[Verdict.HANG],
            "defects": self.verdicts[Verdict.DEFECT],
            "leaks": len(self.leaks),
            "decoder_crashes": self.verdicts[Verdict.CRASH],
            "time_limits": sum(self.codes[code] for code in TIME_LIMIT_CODES),
            "memory_limits": self.codes[DecoderOutOfMemory.code],
            "outcomes": dict(self.codes.most_common()),
            "service": {
                "inputs": self.service_inputs,
                "outcomes": dict(self.service_codes.most_common()),
                "disagreements": self.disagreements,
                "parts_lost": self.parts_lost,
            },
            "leaked": self.leaks,
            "slowest": [{"seconds": round(s, 2), "name": name} for s, name in self.slowest],
            "kept": self.saved,
        }

    def _record_outcome(self, fuzz_input: FuzzInput, outcome: Outcome, where: str) -> None:
        self.verdicts[outcome.verdict] += 1
        is_fine = outcome.verdict is Verdict.FINE
        self.slowest = sorted([*self.slowest, (outcome.seconds, fuzz_input.name)])[-_SLOWEST_COUNT:]
        if (not is_fine or outcome.code in TIME_LIMIT_CODES) and len(self.saved) < _MAX_SAVED:
            (self.folder / fuzz_input.name).write_bytes(fuzz_input.data)
            saved = {
                "name": fuzz_input.name,
                "where": where,
                "steps": fuzz_input.steps,
                "choices": asdict(fuzz_input.options),
            }
            self.saved.append(saved | asdict(outcome))


def has_passed(summary: dict[str, Any]) -> bool:
    """Return whether no lost process, hang, leak or defect was found."""
    return not any(summary[name] for name in VIOLATIONS)
