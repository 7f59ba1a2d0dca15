"""Affine transforms of the plane, in plain numbers: for a single one cheaper than arrays."""

from __future__ import annotations

import math
from typing import Final, NamedTuple, TypeVar

import numpy as np

from service.domain.array_types import Float32Array, Float64Array

Coordinate = TypeVar("Coordinate", float, Float64Array)


class Affine(NamedTuple):
    """Transform of (x, y) to (a x + b y + e, c x + d y + f)."""

    a: float
    b: float
    e: float
    c: float
    d: float
    f: float

    @classmethod
    def from_matrix(cls, matrix: Float32Array | Float64Array) -> Affine:
        """Make it from a (2, 3) matrix."""
        (a, b, e), (c, d, f) = matrix.tolist()
        return cls(a, b, e, c, d, f)

    def to_matrix(self) -> Float64Array:
        """Convert to a (2, 3) matrix."""
        return np.array([self[:3], self[3:]])

    @property
    def scales(self) -> tuple[float, float]:
        """Lengths that a step across and a step down become."""
        return math.hypot(self.a, self.c), math.hypot(self.b, self.d)

    def apply(self, x: Coordinate, y: Coordinate) -> tuple[Coordinate, Coordinate]:
        """Transform points."""
        return self.a * x + self.b * y + self.e, self.c * x + self.d * y + self.f

    def after(self, first: Affine) -> Affine:
        """Make the transform that does another one first."""
        e, f = self.apply(first.e, first.f)
        return Affine(
            self.a * first.a + self.b * first.c,
            self.a * first.b + self.b * first.d,
            e,
            self.c * first.a + self.d * first.c,
            self.c * first.b + self.d * first.d,
            f,
        )

    def rescale(self, across: int, down: int, left: int = 0, top: int = 0) -> Affine:
        """Make the transform of samples of `across` times `down` pixels each, from a corner on."""
        x, y = left + (across - 1) / 2, top + (down - 1) / 2
        return self.after(Affine(across, 0.0, x, 0.0, down, y))

    def invert(self) -> Affine:
        """Make the inverse."""
        determinant = self.a * self.d - self.b * self.c
        a, b = self.d / determinant, -self.b / determinant
        c, d = -self.c / determinant, self.a / determinant
        return Affine(a, b, -(a * self.e + b * self.f), c, d, -(c * self.e + d * self.f))

    def bound(self, first: float, last: float) -> tuple[float, float, float, float]:
        """Bounds of a transformed square of these coordinates: left, top, right, bottom."""
        corners = [self.apply(x, y) for x in (first, last) for y in (first, last)]
        xs, ys = [x for x, _ in corners], [y for _, y in corners]
        return min(xs), min(ys), max(xs), max(ys)


UNCHANGED: Final = Affine(1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def make_display_affine(height: int, width: int, quarter_turns: int, mirrored: bool) -> Affine:
    """Make the transform that mirrors pixels left to right, then turns them counter-clockwise."""
    affine = Affine(-1.0, 0.0, width - 1.0, 0.0, 1.0, 0.0) if mirrored else UNCHANGED
    for _ in range(quarter_turns):
        affine = Affine(0.0, 1.0, 0.0, -1.0, 0.0, width - 1.0).after(affine)
        height, width = width, height
    return affine
