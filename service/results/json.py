"""The columnar JSON of a result, a slice of a column at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from service.domain.clip import Missing
from service.results.columns import ESTIMATE_COLUMNS, FACE_COLUMNS, SCHEMA, FrameColumns, Result
from service.results.numerals import write_booleans, write_floats, write_integers

SLICE_ROWS: Final = 4096

V = TypeVar("V")


def write_json(result: Result) -> Iterator[bytes]:
    """One object: schema, media, provenance, flags, and `frames` as columns; null where unknown."""
    head: dict[str, Any] = {
        "schema": SCHEMA,
        "media": asdict(result.media) | {"anomalies": asdict(result.anomalies)},
        "provenance": dict(result.provenance),
        "flags": list(result.flags),
    }
    text = json.dumps(head, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    yield text[:-1].encode() + b',"frames":{'
    yield from _write_frames(result.frames)
    yield b"}}\n"


def _write_frames(frames: FrameColumns) -> Iterator[bytes]:
    yield from _write_column("index", frames.index, write_integers)
    yield b","
    yield from _write_column("time", frames.time, _write_nullable)
    for name in ESTIMATE_COLUMNS:
        yield b","
        yield from _write_column(name, frames.estimates[name], _write_nullable)
    yield b","
    yield from _write_column("observed", frames.observed, write_booleans)
    yield b","
    yield from _write_column("missing", frames.missing, _write_reasons)
    yield b',"face":{'
    for position, name in enumerate(FACE_COLUMNS):
        yield b"," if position else b""
        yield from _write_column(name, frames.face[name], _write_nullable)
    yield b"}"


def _write_column(name: str, values: Any, write: Callable[[Any], list[str]]) -> Iterator[bytes]:
    yield f'"{name}":['.encode()
    for start in range(0, len(values), SLICE_ROWS):
        texts = write(values[start : start + SLICE_ROWS])
        yield ("," if start else "").encode() + ",".join(texts).encode()
    yield b"]"


def _write_nullable(values: npt.NDArray[np.floating[Any]]) -> list[str]:
    return write_floats(values, unknown="null")


def _write_reasons(reasons: tuple[Missing | None, ...]) -> list[str]:
    return ["null" if reason is None else f'"{reason}"' for reason in reasons]
