"""Picture in the planes of its decoder, of which only what is looked at becomes RGB.

Coordinates are pixels of the picture as displayed; whole numbers are the centres of pixels, as in
OpenCV. Chroma samples lie in the middle of the pixels that share them, where FFmpeg's conversion
puts them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from service.domain.array_types import Float32Array, Float64Array, Int64Array, UInt8Array

_IDENTITY: Final[Float64Array] = np.eye(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """Samples of a picture, (h, w) or (h, w, C) uint8, one for `across` times `down` pixels."""

    samples: UInt8Array
    across: int = 1
    down: int = 1


class PlanarPicture:
    """A picture as displayed, upright and with square pixels; its planes are only read.

    shape: height and width.
    """

    def __init__(
        self,
        planes: Sequence[Plane],
        *,
        to_rgb: Float32Array | None = None,
        mirrored: bool = False,
        quarter_turns: int = 0,
    ) -> None:
        """Wrap planes of samples, the first of them of the full size.

        Args: to_rgb: (3, 4) matrix from their three channels and 1 to RGB; None: they are RGB.
        mirrored, quarter_turns: how they are displayed: mirrored left to right, then rotated
            counter-clockwise.
        """
        self._planes = planes
        self._to_rgb = to_rgb
        self._mirrored = mirrored
        self._quarter_turns = quarter_turns % 4
        height, width = planes[0].samples.shape[:2]
        self._to_display = _make_display_matrix(height, width, self._quarter_turns, mirrored)
        is_sideways = bool(self._quarter_turns % 2)
        self.shape: tuple[int, int] = (width, height) if is_sideways else (height, width)

    @classmethod
    def of(cls, picture: PlanarPicture | UInt8Array) -> PlanarPicture:
        """Wrap an (H, W, 3) RGB picture as displayed; a PlanarPicture is returned as it is."""
        if isinstance(picture, PlanarPicture):
            return picture
        return cls([Plane(samples=picture)])

    def warp(self, matrix: Float32Array, side: int, *, averages: bool = False) -> UInt8Array:
        """Sample a region bilinearly to (side, side, 3) RGB, black outside the picture.

        Args: matrix: (2, 3), from pixels of the picture to those of the result.
        averages: shrink the region by whole factors first, which averages all its pixels;
            bilinear sampling alone skips pixels where it shrinks more than twice.
        """
        coded = (matrix @ self._to_display).astype(np.float64)
        warped: list[UInt8Array] = []
        coverage: Float32Array | None = None
        for plane in self._planes:
            samples, to_result = plane.samples, _subsample_matrix(coded, plane)
            if averages:
                samples, to_result = _average_region(samples, to_result, side)
            if not warped:
                coverage = _measure_coverage(samples.shape[:2], to_result, side)
            warped.append(
                cv2.warpAffine(
                    samples,
                    to_result,
                    (side, side),
                    flags=cv2.INTER_LINEAR,
                    borderMode=cv2.BORDER_REPLICATE,
                ).astype(np.uint8, copy=False)
            )
        rgb = self._convert(warped)
        if coverage is None:
            return rgb
        return np.rint(rgb * coverage[:, :, np.newaxis]).astype(np.uint8)

    def shrink(
        self, left: int, top: int, right: int, bottom: int, size: tuple[int, int]
    ) -> UInt8Array:
        """Scale a part inside the picture to (height, width, 3) RGB by averages of its pixels.

        Args: right, bottom: the first column and row after the part; size: width and height.
        """
        corners = np.array([[left, top], [right, bottom]]) - 0.5
        linear, shift = self._to_display[:2, :2], self._to_display[:2, 2]
        first, last = np.sort((corners - shift) @ linear, axis=0) + 0.5  # linear is orthogonal
        across, down = size[::-1] if self._quarter_turns % 2 else size
        parts: list[UInt8Array] = []
        for plane in self._planes:
            steps = np.array([plane.across, plane.down])
            begin, end = np.floor(first / steps).astype(int), np.ceil(last / steps).astype(int)
            part = plane.samples[begin[1] : end[1], begin[0] : end[0]]
            parts.append(_halve_repeatedly(part, across, down))
        rgb = self._convert(_average_all(parts, across, down))
        shown = rgb[:, ::-1] if self._mirrored else rgb
        return np.ascontiguousarray(np.rot90(shown, self._quarter_turns))

    def cut(self, left: int, top: int, right: int, bottom: int) -> UInt8Array:
        """Cut out a part inside the picture, (bottom - top, right - left, 3) RGB."""
        return self.shrink(left, top, right, bottom, (right - left, bottom - top))

    def sample(self, rows: Int64Array, columns: Int64Array) -> UInt8Array:
        """Read single pixels, inside the picture: (..., 3) RGB for rows and columns, broadcast."""
        (a, b, c), (d, e, f) = np.linalg.inv(self._to_display)[:2].round().astype(np.int64)
        x, y = a * columns + b * rows + c, d * columns + e * rows + f
        values = [
            plane.samples[y // plane.down, x // plane.across].reshape(*x.shape, -1)
            for plane in self._planes
        ]
        joined = np.concatenate(values, axis=-1)
        return self._convert([joined.reshape(-1, 1, 3)]).reshape(*x.shape, 3)

    def to_rgb(self) -> UInt8Array:
        """Convert the whole picture to (H, W, 3) RGB."""
        height, width = self.shape
        return self.cut(0, 0, width, height)

    def _convert(self, channels: Sequence[UInt8Array]) -> UInt8Array:
        """Convert the channels of equal size to RGB."""
        joined = _join(channels)
        if self._to_rgb is None:
            return joined
        return cv2.transform(joined, self._to_rgb).astype(np.uint8, copy=False)


def _make_display_matrix(
    height: int, width: int, quarter_turns: int, mirrored: bool
) -> Float64Array:
    """Make the (3, 3) matrix from pixels as coded to pixels as displayed."""
    matrix = np.array([[-1.0, 0, width - 1], [0, 1, 0], [0, 0, 1]]) if mirrored else _IDENTITY
    for _ in range(quarter_turns):
        matrix = np.array([[0.0, 1, 0], [-1, 0, width - 1], [0, 0, 1]]) @ matrix
        height, width = width, height
    return matrix


def _subsample_matrix(matrix: Float64Array, plane: Plane) -> Float64Array:
    """Convert a (2, 3) matrix of pixels to one of the samples of a plane."""
    steps = np.array([plane.across, plane.down])
    shift = matrix[:, 2] + matrix[:, :2] @ ((steps - 1) / 2)
    return np.column_stack([matrix[:, :2] * steps, shift])


def _average_region(
    samples: UInt8Array, matrix: Float64Array, side: int
) -> tuple[UInt8Array, Float64Array]:
    """Shrink the samples in a region by the whole factors in its matrix; adapt the matrix."""
    factors = (1 / np.maximum(np.hypot(*matrix[:, :2]), 1e-6)).astype(int)
    factors = np.maximum(factors, 1)
    if (factors == 1).all():
        return samples, matrix
    corners = np.array([[0, 0], [side, 0], [0, side], [side, side]])
    visible = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    limits = samples.shape[1], samples.shape[0]
    first = np.clip(np.floor(visible.min(axis=0)) - factors, 0, limits).astype(int)
    last = np.clip(np.ceil(visible.max(axis=0)) + factors, 0, limits).astype(int)
    columns, rows = (int(each) for each in (last - first) // factors)
    if columns < 1 or rows < 1:
        return samples, matrix
    end = first + factors * (columns, rows)
    part = samples[first[1] : end[1], first[0] : end[0]]
    # sample p of the small part averages those around factor * p + (factor - 1) / 2
    shift = matrix[:, 2] + matrix[:, :2] @ (first + (factors - 1) / 2)
    small = _average(part, columns, rows)
    return small, np.column_stack([matrix[:, :2] * factors, shift])


def _measure_coverage(
    shape: tuple[int, ...], matrix: Float64Array, side: int
) -> Float32Array | None:
    """Measure the share of the picture in each sampled pixel, (side, side); None: all is in it."""
    height, width = shape
    linear = np.linalg.inv(matrix[:, :2])
    last = side - 1
    corners = (np.array([[0, 0], [last, 0], [0, last], [last, last]]) - matrix[:, 2]) @ linear.T
    if corners.min() >= 0 and (corners <= (width - 1, height - 1)).all():
        return None
    places = np.arange(side) - matrix[:, 2:]
    x = linear[0, 0] * places[0] + linear[0, 1] * places[1][:, np.newaxis]
    y = linear[1, 0] * places[0] + linear[1, 1] * places[1][:, np.newaxis]
    across = np.clip(x + 1, 0, 1) * np.clip(width - x, 0, 1)
    return (across * np.clip(y + 1, 0, 1) * np.clip(height - y, 0, 1)).astype(np.float32)


def _halve_repeatedly(part: UInt8Array, columns: int, rows: int) -> UInt8Array:
    """Halve samples while they are of twice the size or more, and even: that is fast."""
    height, width = part.shape[:2]
    while width >= 2 * columns and height >= 2 * rows and not (width % 2 or height % 2):
        width, height = width // 2, height // 2
        part = _average(part, width, height)
    return part


def _average_all(parts: Sequence[UInt8Array], columns: int, rows: int) -> list[UInt8Array]:
    """Scale the channels of a part to one size."""
    if len({each.shape for each in parts}) == 1:
        parts = [_join(parts)]
    return [_average(each, columns, rows) for each in parts]


def _average(part: UInt8Array, columns: int, rows: int) -> UInt8Array:
    if part.shape[:2] == (rows, columns):
        return part
    small = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)
    return small.astype(np.uint8, copy=False)


def _join(channels: Sequence[UInt8Array]) -> UInt8Array:
    return channels[0] if len(channels) == 1 else cv2.merge(channels).astype(np.uint8, copy=False)
