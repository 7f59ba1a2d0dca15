"""Annotation files: a header, then one row per frame; -5 marks a frame without annotation."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from service.domain.array_types import Float32Array
from training.data.errors import AnnotationUnreadable

HEADER: Final = "valence,arousal"
NOT_ANNOTATED: Final = -5.0


def read_annotations(file: Path) -> Float32Array:
    """Read valence and arousal of every frame; the row number is the frame index.

    Returns: (T, 2), NaN in both columns where either is -5.
    Raises: AnnotationUnreadable: with the invalid line.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationUnreadable(f"{file}: {error}") from error
    if not lines or lines[0].replace(" ", "").lower() != HEADER:
        raise AnnotationUnreadable(f"{file}, line 1: the header is not '{HEADER}'")
    rows = [_parse_row(line, f"{file}, line {number}") for number, line in enumerate(lines[1:], 2)]
    targets = np.array(rows, np.float32).reshape(-1, 2)
    targets[(targets == NOT_ANNOTATED).any(axis=1)] = np.nan
    return targets


def _parse_row(line: str, location: str) -> tuple[float, float]:
    try:
        valence, arousal = map(float, line.split(","))
    except ValueError as error:
        raise AnnotationUnreadable(f"{location}: {line!r} is not two numbers") from error
    for value in (valence, arousal):
        if not (-1.0 <= value <= 1.0 or value == NOT_ANNOTATED):
            raise AnnotationUnreadable(f"{location}: {value} is neither in [-1, 1] nor -5")
    return valence, arousal
