"""The columnar JSON of a result, a slice of a column at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from service.domain.array_types import BoolArray, Float32Array
from service.domain.clip import MissingReason
from service.domain.media import MediaInfo
from service.results.columns import (
    BOX_COLUMNS,
    ESTIMATE_COLUMNS,
    RELATIVE_BOX_COLUMNS,
    SCHEMA,
    AnalysisResult,
    FrameColumns,
    ResultTrack,
    compute_relative_boxes,
)
from service.results.number_format import write_booleans, write_floats, write_integers

SLICE_ROWS: Final = 4096


def write_json(result: AnalysisResult) -> Iterator[bytes]:
    """One object: what the clip is, its tracks, and `frames` as columns; null where unknown."""
    head: dict[str, Any] = {
        "schema": SCHEMA,
        "media": asdict(result.media) | {"anomalies": asdict(result.anomalies)},
        "provenance": dict(result.provenance),
        "flags": list(result.flags),
        "faces": result.faces,
        "track": result.track,
    }
    yield _write_open_object(head) + b',"tracks":['
    for position, track in enumerate(result.tracks):
        yield b"," if position else b""
        yield from _write_track(track, result.media)
    yield b'],"frames":{'
    yield from _write_frames(result.frames, result.media)
    yield b"}}\n"


def _write_open_object(fields: Mapping[str, Any]) -> bytes:
    """An object that more fields are to follow in."""
    text = json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text[:-1].encode()


def _write_track(track: ResultTrack, media: MediaInfo) -> Iterator[bytes]:
    fields = {
        "id": track.id,
        "primary": track.primary,
        "observed_frames": track.observed_frames,
        "first_time": track.first_time,
        "last_time": track.last_time,
    }
    yield _write_open_object(fields) + b',"mean_face":{'
    yield b",".join(
        f'"{name}":{_write_nullable(value)[0]}'.encode()
        for name, value in (track.mean_box | compute_relative_boxes(track.mean_box, media)).items()
    )
    yield b"}"
    if track.frames is not None:
        yield b',"frames":{'
        yield from _write_frames(track.frames, media)
        yield b"}"
    yield b"}"


def _write_frames(frames: FrameColumns, media: MediaInfo) -> Iterator[bytes]:
    yield from _write_column("index", frames.index, write_integers)
    yield b","
    yield from _write_column("time", frames.time, _write_nullable)
    for name in ESTIMATE_COLUMNS:
        yield b","
        yield from _write_column(name, frames.estimates[name], _write_nullable)
    yield b","
    yield from _write_column("observed", frames.observed, write_booleans)
    yield b","
    yield from _write_column("missing", frames.observed, _write_missing_reasons)
    yield b',"face":{'
    for name in BOX_COLUMNS:
        yield from _write_column(name, frames.box[name], _write_nullable)
        yield b","
    shares = compute_relative_boxes(frames.box, media)
    for position, name in enumerate(RELATIVE_BOX_COLUMNS):
        yield b"," if position else b""
        yield from _write_column(name, shares[name], _write_nullable)
    yield b"}"


def _write_column(name: str, values: Any, write: Callable[[Any], list[str]]) -> Iterator[bytes]:
    yield f'"{name}":['.encode()
    for start in range(0, len(values), SLICE_ROWS):
        texts = write(values[start : start + SLICE_ROWS])
        yield ("," if start else "").encode() + ",".join(texts).encode()
    yield b"]"


def _write_nullable(values: Float32Array | npt.NDArray[np.float64]) -> list[str]:
    return write_floats(values, unknown="null")


def _write_missing_reasons(observed: BoolArray) -> list[str]:
    return [
        "null" if is_observed else f'"{MissingReason.FACE_NOT_FOUND}"'
        for is_observed in observed.tolist()
    ]
