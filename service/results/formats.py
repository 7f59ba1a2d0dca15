"""Result formats: JSON and CSV writers, and the catalogue of them.

Numbers are the shortest decimals that read back the same, so that formats agree. JSON is
columnar. CSV has a row for each frame and track: first every decoded frame with the primary
track's estimates, then, where all faces are requested, the rows of each other track. Each row
names the model and its domain, so that tables of several results can be joined; the classes of a
model that has some are the last columns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from service.domain.array_types import BoolArray, Float32Array, Float64Array, Int64Array
from service.domain.clip import MissingReason
from service.domain.media import MediaInfo
from service.errors import ResultFormatUnknown
from service.results.builder import (
    BOX_COLUMNS,
    ESTIMATE_COLUMNS,
    FACE_COLUMNS,
    RELATIVE_BOX_COLUMNS,
    SCHEMA,
    AnalysisResult,
    FrameColumns,
    ResultTrack,
    compute_relative_boxes,
)

CSV_HEADER: Final = (
    "index",
    "time",
    *ESTIMATE_COLUMNS,
    "observed",
    "missing",
    *(f"face_{name}" for name in FACE_COLUMNS),
    "track",
    "model",
    "domain",
)
"""Columns of every CSV; those of a model with classes follow."""
SLICE_ROWS: Final = 4096
"""Rows that are formatted at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFormat:
    """Format of a result file; its name is also the file suffix."""

    name: str
    media_type: str
    write: Callable[[AnalysisResult], Iterator[bytes]]


def write_json(result: AnalysisResult) -> Iterator[bytes]:
    """Write one JSON object: media, tracks, and `frames` as columns; null where unknown."""
    head: dict[str, Any] = {
        "schema": SCHEMA,
        "model": result.describe_model(),
        "media": asdict(result.media) | {"anomalies": asdict(result.anomalies)},
        "provenance": dict(result.provenance),
        "flags": list(result.flags),
        "faces": result.faces,
        "std_meaning": result.std_meaning,
        "track": result.track,
    }
    yield _write_json_head(head) + b',"tracks":['
    for position, track in enumerate(result.tracks):
        yield b"," if position else b""
        yield from _write_json_track(track, result.media)
    yield b'],"frames":{'
    yield from _write_json_frames(result.frames, result.media)
    yield b"}}\n"


def _write_json_head(fields: Mapping[str, Any]) -> bytes:
    """Write an object without its closing brace, so that more fields can follow."""
    text = json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text[:-1].encode()


def _write_json_track(track: ResultTrack, media: MediaInfo) -> Iterator[bytes]:
    fields = {
        "id": track.id,
        "primary": track.primary,
        "observed_frames": track.observed_frames,
        "first_time": track.first_time,
        "last_time": track.last_time,
    }
    yield _write_json_head(fields) + b',"mean_face":{'
    yield b",".join(
        f'"{name}":{_format_nullable(value)[0]}'.encode()
        for name, value in (track.mean_box | compute_relative_boxes(track.mean_box, media)).items()
    )
    yield b"}"
    if track.frames is not None:
        yield b',"frames":{'
        yield from _write_json_frames(track.frames, media)
        yield b"}"
    yield b"}"


def _write_json_frames(frames: FrameColumns, media: MediaInfo) -> Iterator[bytes]:
    yield from _write_json_column("index", frames.index, _format_integers)
    yield b","
    yield from _write_json_column("time", frames.time, _format_nullable)
    for name in ESTIMATE_COLUMNS:
        yield b","
        yield from _write_json_column(name, frames.estimates[name], _format_nullable)
    yield b","
    yield from _write_json_column("observed", frames.observed, _format_booleans)
    yield b","
    yield from _write_json_column("missing", frames.observed, _format_missing_reasons)
    yield b',"face":{'
    for name in BOX_COLUMNS:
        yield from _write_json_column(name, frames.box[name], _format_nullable)
        yield b","
    relative_boxes = compute_relative_boxes(frames.box, media)
    for position, name in enumerate(RELATIVE_BOX_COLUMNS):
        yield b"," if position else b""
        yield from _write_json_column(name, relative_boxes[name], _format_nullable)
    yield b"}"
    if frames.classes:
        yield b',"classes":{'
        for position, (name, values) in enumerate(frames.classes.items()):
            yield b"," if position else b""
            yield from _write_json_column(name, values, _format_nullable)
        yield b"}"


def _write_json_column(
    name: str, values: Any, format_values: Callable[[Any], list[str]]
) -> Iterator[bytes]:
    yield f'"{name}":['.encode()
    for start in range(0, len(values), SLICE_ROWS):
        texts = format_values(values[start : start + SLICE_ROWS])
        yield ("," if start else "").encode() + ",".join(texts).encode()
    yield b"]"


def _format_nullable(values: Float32Array | Float64Array) -> list[str]:
    return _format_floats(values, unknown="null")


def _format_missing_reasons(observed: BoolArray) -> list[str]:
    return [
        "null" if is_observed else f'"{MissingReason.FACE_NOT_FOUND}"'
        for is_observed in observed.tolist()
    ]


def write_csv(result: AnalysisResult) -> Iterator[bytes]:
    """Write RFC 4180 without quotes (no cell needs any), with LF line ends."""
    classes = (f"class_{name}" for name in result.frames.classes)
    yield (",".join((*CSV_HEADER, *classes)) + "\n").encode()
    model = (str(result.manifest.id), result.manifest.domain or "")
    tables = [(result.track, result.frames)]
    tables += [
        (track.id, track.frames)
        for track in result.tracks
        if track.frames is not None and not track.primary
    ]
    for track, frames in tables:
        for start in range(0, len(frames), SLICE_ROWS):
            part = frames.cut(slice(start, start + SLICE_ROWS))
            constants = ("" if track is None else str(track), *model)
            yield _write_csv_rows(part, constants, result.media).encode()


def _write_csv_rows(frames: FrameColumns, constants: Sequence[str], media: MediaInfo) -> str:
    relative_boxes = compute_relative_boxes(frames.box, media)
    columns = [
        _format_integers(frames.index),
        _format_floats(frames.time, unknown=""),
        *(_format_floats(frames.estimates[name], unknown="") for name in ESTIMATE_COLUMNS),
        _format_booleans(frames.observed),
        [
            "" if is_observed else MissingReason.FACE_NOT_FOUND
            for is_observed in frames.observed.tolist()
        ],
        *(_format_floats(frames.box[name], unknown="") for name in BOX_COLUMNS),
        *(_format_floats(relative_boxes[name], unknown="") for name in RELATIVE_BOX_COLUMNS),
        *([cell] * len(frames) for cell in constants),
        *(_format_floats(values, unknown="") for values in frames.classes.values()),
    ]
    return "".join(",".join(cells) + "\n" for cells in zip(*columns, strict=True))


def _format_floats(values: Float32Array | Float64Array, unknown: str) -> list[str]:
    """Format as the shortest round-trip decimals; `unknown` for NaN and infinities."""
    texts: list[str] = values.astype(np.str_).tolist()
    finite: list[bool] = np.isfinite(values).tolist()
    return [text if known else unknown for text, known in zip(texts, finite, strict=True)]


def _format_integers(values: Int64Array) -> list[str]:
    """Format as decimal integers."""
    return [str(value) for value in values.tolist()]


def _format_booleans(values: BoolArray) -> list[str]:
    """Format as `true` and `false`."""
    return ["true" if value else "false" for value in values.tolist()]


JSON: Final = ResultFormat(name="json", media_type="application/json", write=write_json)
CSV: Final = ResultFormat(name="csv", media_type="text/csv", write=write_csv)
FORMATS: Final[Mapping[str, ResultFormat]] = {each.name: each for each in (JSON, CSV)}


def find_format(name: str) -> ResultFormat:
    """Format by name or file suffix (`json`, `.json`). Raises: ResultFormatUnknown."""
    found = FORMATS.get(name.lower().lstrip("."))
    if found is None:
        raise ResultFormatUnknown(
            f"results are offered as {', '.join(FORMATS)}, not as {name[:40]!r}"
        )
    return found
