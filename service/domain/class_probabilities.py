"""Class probabilities of faces: the first values of an embedding, for estimators with classes."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

import numpy as np

from service.domain.array_types import Float32Array

ClassProbabilities = tuple[float, ...]
"""One probability for each class of the estimator; () where the face was not found in the frame,
or the estimator has no classes."""


def read_class_probabilities(faces: Float32Array, class_count: int) -> list[ClassProbabilities]:
    """Return the class probabilities of (N, 512) embeddings, a tuple for each row."""
    if not class_count:
        return [()] * len(faces)
    rows: list[list[float]] = faces[:, :class_count].tolist()
    return [tuple(row) for row in rows]


def pack_class_probabilities(rows: Sequence[ClassProbabilities]) -> Float32Array:
    """Pack the probabilities of N frames into (N, C) float32; NaN where there are none."""
    classes = max(map(len, rows), default=0)
    packed = np.full((len(rows), classes), np.nan, np.float32)
    for place, row in enumerate(rows):
        if row:
            packed[place] = row
    return packed


def unpack_class_probabilities(packed: Float32Array) -> list[ClassProbabilities]:
    """Return what `pack_class_probabilities` packed."""
    rows: list[list[float]] = packed.tolist()
    return [() if all(map(isnan, row)) else tuple(row) for row in rows]
