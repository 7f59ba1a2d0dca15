"""The CSV of a result: one row per decoded frame, empty cells where unknown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from service.results.columns import ESTIMATE_COLUMNS, FACE_COLUMNS, FrameColumns, Result
from service.results.numerals import write_booleans, write_floats, write_integers

HEADER: Final = (
    "index",
    "time",
    *ESTIMATE_COLUMNS,
    "observed",
    "missing",
    *(f"face_{name}" for name in FACE_COLUMNS),
)
SLICE_ROWS: Final = 4096


def write_csv(result: Result) -> Iterator[bytes]:
    """RFC 4180 without quotes (no cell needs any), lines ended by LF."""
    yield (",".join(HEADER) + "\n").encode()
    for start in range(0, len(result.frames), SLICE_ROWS):
        yield _write_rows(result.frames, slice(start, start + SLICE_ROWS)).encode()


def _write_rows(frames: FrameColumns, rows: slice) -> str:
    columns = [
        write_integers(frames.index[rows]),
        write_floats(frames.time[rows], unknown=""),
        *(write_floats(frames.estimates[name][rows], unknown="") for name in ESTIMATE_COLUMNS),
        write_booleans(frames.observed[rows]),
        [reason or "" for reason in frames.missing[rows]],
        *(write_floats(frames.face[name][rows], unknown="") for name in FACE_COLUMNS),
    ]
    return "".join(",".join(cells) + "\n" for cells in zip(*columns, strict=True))
