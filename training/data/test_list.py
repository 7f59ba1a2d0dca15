"""Test videos without annotations: the organisers' list, and their sample submission.

The list names one recording a line; the sample has the header `image_location,valence,arousal` and
a row for each frame that the challenge scores, in its order. A submission has the same rows.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from training.data.errors import TestListInvalid

SUBMISSION_HEADER: Final = "image_location,valence,arousal"
_LOCATION: Final = re.compile(r"([^/]+)/0*([1-9]\d*)\.\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionRow:
    """One frame of a submission. location: as in the sample, such as `video/00001.jpg`."""

    location: str
    recording: str
    row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TestList:
    """Names of the test recordings, in order, and the rows of the sample submission, if any."""

    __test__ = False
    """Not a test, although pytest would collect it by its name."""

    names: tuple[str, ...] = ()
    rows: tuple[SubmissionRow, ...] = ()
    sample: Path | None = None
    row_counts: dict[str, int] = field(default_factory=dict[str, int])
    """Rows of each recording, by the sample's largest number."""


def read_test_list(files: Sequence[Path]) -> TestList:
    """Read the list, the sample, or both; without files an empty list.

    Raises: TestListInvalid: a line is invalid, there are two of a kind, or they contradict.
    """
    names: list[str] = []
    samples: list[Path] = []
    lists: list[Path] = []
    for file in files:
        lines = _read_lines(file)
        header = lines[0].replace(" ", "").lower() if lines else ""
        if header == SUBMISSION_HEADER:
            samples.append(file)
        elif header != "valence,arousal":
            lists.append(file)
            names = [_strip_suffix(line) for line in lines]
    for found in (samples, lists):
        if len(found) > 1:
            raise TestListInvalid(f"one is needed, there are {', '.join(map(str, found))}")
    rows = _read_sample(samples[0]) if samples else ()
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.recording] = max(counts.get(row.recording, 0), row.row + 1)
    missing = sorted(set(names) - set(counts)) if names and counts else []
    if missing:
        raise TestListInvalid(f"{samples[0]} has no row of {missing[0]}, which {lists[0]} names")
    return TestList(
        names=tuple(dict.fromkeys(names or counts)),
        rows=rows,
        sample=samples[0] if samples else None,
        row_counts=counts,
    )


def _read_lines(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TestListInvalid(f"{file}: {error}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _strip_suffix(line: str) -> str:
    """Return a line's name: some lists have `.txt` or `.mp4` behind each."""
    name = PurePosixPath(line)
    is_file = name.suffix.lower() in (".txt", ".mp4", ".avi")
    if "," in line or len(name.parts) != 1:
        raise TestListInvalid(f"{line!r} is not the name of a video")
    return name.stem if is_file else name.name


def _read_sample(file: Path) -> tuple[SubmissionRow, ...]:
    rows: list[SubmissionRow] = []
    for number, cells in enumerate(csv.reader(_read_lines(file)[1:]), 2):
        location = cells[0].strip()
        match = _LOCATION.fullmatch(location)
        if match is None:
            raise TestListInvalid(f"{file}, row {number}: {location!r} is not video/00001.jpg")
        rows.append(SubmissionRow(location=location, recording=match[1], row=int(match[2]) - 1))
    return tuple(rows)
