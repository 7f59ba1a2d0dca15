"""The CSV of a result: a row for each frame and track, empty cells where unknown.

First one row for every decoded frame, as the primary track sees it; then, where all faces are
asked for, the rows of each other track.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from service.domain.clip import MissingReason
from service.domain.media import MediaInfo
from service.results.columns import (
    BOX_COLUMNS,
    ESTIMATE_COLUMNS,
    FACE_COLUMNS,
    RELATIVE_BOX_COLUMNS,
    AnalysisResult,
    FrameColumns,
    compute_relative_boxes,
)
from service.results.number_format import write_booleans, write_floats, write_integers

HEADER: Final = (
    "index",
    "time",
    *ESTIMATE_COLUMNS,
    "observed",
    "missing",
    *(f"face_{name}" for name in FACE_COLUMNS),
    "track",
)
SLICE_ROWS: Final = 4096


def write_csv(result: AnalysisResult) -> Iterator[bytes]:
    """RFC 4180 without quotes (no cell needs any), lines ended by LF."""
    yield (",".join(HEADER) + "\n").encode()
    tables = [(result.track, result.frames)]
    tables += [
        (track.id, track.frames)
        for track in result.tracks
        if track.frames is not None and not track.primary
    ]
    for track, frames in tables:
        for start in range(0, len(frames), SLICE_ROWS):
            part = frames.cut(slice(start, start + SLICE_ROWS))
            yield _write_rows(part, track, result.media).encode()


def _write_rows(frames: FrameColumns, track: int | None, media: MediaInfo) -> str:
    shares = compute_relative_boxes(frames.box, media)
    columns = [
        write_integers(frames.index),
        write_floats(frames.time, unknown=""),
        *(write_floats(frames.estimates[name], unknown="") for name in ESTIMATE_COLUMNS),
        write_booleans(frames.observed),
        [
            "" if is_observed else MissingReason.FACE_NOT_FOUND
            for is_observed in frames.observed.tolist()
        ],
        *(write_floats(frames.box[name], unknown="") for name in BOX_COLUMNS),
        *(write_floats(shares[name], unknown="") for name in RELATIVE_BOX_COLUMNS),
        ["" if track is None else str(track)] * len(frames),
    ]
    return "".join(",".join(cells) + "\n" for cells in zip(*columns, strict=True))
