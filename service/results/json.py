"""The columnar JSON of a result, a slice of a column at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from service.domain.arrays import Booleans, Floats
from service.domain.clip import Missing
from service.domain.media import MediaFacts
from service.results.columns import (
    BOX_COLUMNS,
    ESTIMATE_COLUMNS,
    SCHEMA,
    SHARE_COLUMNS,
    FrameColumns,
    Result,
    Track,
    shares_of,
)
from service.results.numerals import write_booleans, write_floats, write_integers

SLICE_ROWS: Final = 4096


def write_json(result: Result) -> Iterator[bytes]:
    """One object: what the clip is, its tracks, and `frames` as columns; null where unknown."""
    head: dict[str, Any] = {
        "schema": SCHEMA,
        "media": asdict(result.media) | {"anomalies": asdict(result.anomalies)},
        "provenance": dict(result.provenance),
        "flags": list(result.flags),
        "faces": result.faces,
        "track": result.track,
    }
    yield _write_open(head) + b',"tracks":['
    for position, track in enumerate(result.tracks):
        yield b"," if position else b""
        yield from _write_track(track, result.media)
    yield b'],"frames":{'
    yield from _write_frames(result.frames, result.media)
    yield b"}}\n"


def _write_open(fields: Mapping[str, Any]) -> bytes:
    """An object that more fields are to follow in."""
    text = json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text[:-1].encode()


def _write_track(track: Track, media: MediaFacts) -> Iterator[bytes]:
    fields = {
        "id": track.id,
        "primary": track.primary,
        "observed_frames": track.observed_frames,
        "first_time": track.first_time,
        "last_time": track.last_time,
    }
    yield _write_open(fields) + b',"mean_face":{'
    yield b",".join(
        f'"{name}":{_write_nullable(value)[0]}'.encode()
        for name, value in (track.mean_box | shares_of(track.mean_box, media)).items()
    )
    yield b"}"
    if track.frames is not None:
        yield b',"frames":{'
        yield from _write_frames(track.frames, media)
        yield b"}"
    yield b"}"


def _write_frames(frames: FrameColumns, media: MediaFacts) -> Iterator[bytes]:
    yield from _write_column("index", frames.index, write_integers)
    yield b","
    yield from _write_column("time", frames.time, _write_nullable)
    for name in ESTIMATE_COLUMNS:
        yield b","
        yield from _write_column(name, frames.estimates[name], _write_nullable)
    yield b","
    yield from _write_column("observed", frames.observed, write_booleans)
    yield b","
    yield from _write_column("missing", frames.observed, _write_reasons)
    yield b',"face":{'
    for name in BOX_COLUMNS:
        yield from _write_column(name, frames.box[name], _write_nullable)
        yield b","
    shares = shares_of(frames.box, media)
    for position, name in enumerate(SHARE_COLUMNS):
        yield b"," if position else b""
        yield from _write_column(name, shares[name], _write_nullable)
    yield b"}"


def _write_column(name: str, values: Any, write: Callable[[Any], list[str]]) -> Iterator[bytes]:
    yield f'"{name}":['.encode()
    for start in range(0, len(values), SLICE_ROWS):
        texts = write(values[start : start + SLICE_ROWS])
        yield ("," if start else "").encode() + ",".join(texts).encode()
    yield b"]"


def _write_nullable(values: Floats | npt.NDArray[np.float64]) -> list[str]:
    return write_floats(values, unknown="null")


def _write_reasons(observed: Booleans) -> list[str]:
    return ["null" if seen else f'"{Missing.FACE_NOT_FOUND}"' for seen in observed.tolist()]
