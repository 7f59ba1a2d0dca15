"""Findings about a data set, and its size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from training.data.errors import DatasetError
from training.data.layout import Recording


class Severity(StrEnum):
    """Weight of a finding."""

    ERROR = "error"
    """A training would end with it, or learn from something wrong."""
    WARNING = "warning"
    """A training works with it; it may be a mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault. kind: the same word for the same kind of fault; detail: what and where."""

    severity: Severity
    kind: str
    detail: str

    @classmethod
    def of(cls, error: DatasetError) -> Finding:
        """Make an error's finding."""
        return cls(severity=Severity.ERROR, kind=type(error).__name__, detail=str(error))

    def soften(self) -> Finding:
        """Return it as a warning."""
        return replace(self, severity=Severity.WARNING)

    @classmethod
    def warning(cls, kind: str, detail: str) -> Finding:
        """Make a warning."""
        return cls(severity=Severity.WARNING, kind=kind, detail=detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSize:
    """Size of a part of the official split; rows are frames."""

    recordings: int
    subjects: int
    rows: int
    annotated: int
    with_face: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """Sizes by split, and all findings."""

    sizes: dict[str, SplitSize]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> int:
        """Number of errors."""
        return sum(finding.severity is Severity.ERROR for finding in self.findings)


def measure_splits(recordings: Iterable[Recording]) -> dict[str, SplitSize]:
    """Measure each part of the split."""
    parts: dict[str, list[Recording]] = {}
    for recording in recordings:
        parts.setdefault(recording.split, []).append(recording)
    return {split: _measure(part) for split, part in parts.items()}


def _measure(recordings: Sequence[Recording]) -> SplitSize:
    return SplitSize(
        recordings=len(recordings),
        subjects=len({recording.subject for recording in recordings}),
        rows=sum(map(len, recordings)),
        annotated=sum(int(recording.is_annotated.sum()) for recording in recordings),
        with_face=sum(int(recording.has_face.sum()) for recording in recordings),
    )
