"""Picture in the planes of its decoder, of which only what is looked at becomes RGB.

Coordinates are pixels of the picture as displayed; whole numbers are the centres of pixels, as in
OpenCV. Chroma samples lie in the middle of the pixels that share them, where FFmpeg's conversion
puts them too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from service.domain.affine import UNCHANGED, Affine, make_display_affine
from service.domain.array_types import Float32Array, Int64Array, UInt8Array

_NEUTRAL_CHROMA: Final = 128
_HALF: Final = Affine(0.5, 0.0, -0.25, 0.0, 0.5, -0.25)
"""Transform to pixels twice as large."""


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
        rgb_matrix: Float32Array | None = None,
        mirrored: bool = False,
        quarter_turns: int = 0,
    ) -> None:
        """Wrap planes of samples, the first of them of the full size.

        Args: rgb_matrix: (3, 4), from luma, both chroma and 1 to RGB; None: one plane of RGB.
        mirrored, quarter_turns: how they are displayed: mirrored left to right, then rotated
            counter-clockwise.
        """
        self._planes = planes
        self._rgb_matrix = rgb_matrix
        self._mirrored = mirrored
        self._quarter_turns = quarter_turns % 4
        height, width = planes[0].samples.shape[:2]
        self._to_display = make_display_affine(height, width, self._quarter_turns, mirrored)
        is_sideways = bool(self._quarter_turns % 2)
        self.shape: tuple[int, int] = (width, height) if is_sideways else (height, width)

    @classmethod
    def of(cls, picture: PlanarPicture | UInt8Array) -> PlanarPicture:
        """Wrap an (H, W, 3) RGB picture as displayed; a PlanarPicture is returned as it is."""
        if isinstance(picture, PlanarPicture):
            return picture
        return cls([Plane(samples=picture)])

    def to_rgb(self) -> UInt8Array:
        """Convert the whole picture to (H, W, 3) RGB."""
        height, width = self.shape
        return self.cut(0, 0, width, height)

    def thin(self, step: int) -> PlanarPicture:
        """Keep every `step`-th pixel across and down. Args: step: 1 or even."""
        if step == 1:
            return self
        middle = step // 2
        planes = [
            Plane(
                samples=np.ascontiguousarray(
                    each.samples[
                        middle // each.down :: step // each.down,
                        middle // each.across :: step // each.across,
                    ]
                )
            )
            for each in self._planes
        ]
        return PlanarPicture(
            planes,
            rgb_matrix=self._rgb_matrix,
            mirrored=self._mirrored,
            quarter_turns=self._quarter_turns,
        )

    def warp(self, matrix: Float32Array, side: int, *, averages: bool = False) -> UInt8Array:
        """Sample a region bilinearly to (side, side, 3) RGB, black outside the picture.

        Args: matrix: (2, 3), from pixels of the picture to those of the result.
        averages: shrink the region by whole factors first, which averages all its pixels, and
            keep all chroma; else pixels are skipped where the region shrinks more than twice,
            and subsampled chroma is sampled at half the resolution of luma.
        """
        affine = Affine.from_matrix(matrix)
        rgb = self._convert(self._warp(self._planes, affine, side, averages=averages))
        coverage = None if self._rgb_matrix is None else _measure_coverage(affine, self.shape, side)
        if coverage is None:
            return rgb
        return np.rint(rgb * coverage[:, :, np.newaxis]).astype(np.uint8)

    def warp_luma(self, matrix: Float32Array, side: int) -> UInt8Array:
        """Sample a region to full-range brightness, (side, side); what is outside is arbitrary."""
        affine = Affine.from_matrix(matrix)
        luma = self._to_luma(self._warp(self._planes[:1], affine, side, averages=False))
        if self._rgb_matrix is None:
            return luma
        gain, *chroma, shift = self._rgb_matrix[1].tolist()
        grey = np.array([[gain, _NEUTRAL_CHROMA * sum(chroma) + shift]])
        return cv2.transform(luma, grey).astype(np.uint8, copy=False)

    def shrink(
        self, left: int, top: int, right: int, bottom: int, size: tuple[int, int]
    ) -> UInt8Array:
        """Scale a part inside the picture to (height, width, 3) RGB by averages of its pixels.

        Args: right, bottom: the first column and row after the part; size: width and height.
        """
        parts = self._average(self._planes, (left, top, right, bottom), size)
        return self._turn(self._convert(parts))

    def shrink_luma(
        self, left: int, top: int, right: int, bottom: int, size: tuple[int, int]
    ) -> UInt8Array:
        """Scale a part as `shrink` does, to its brightness, (height, width)."""
        parts = self._average(self._planes[:1], (left, top, right, bottom), size)
        return self._turn(self._to_luma(parts))

    def cut(self, left: int, top: int, right: int, bottom: int) -> UInt8Array:
        """Cut out a part inside the picture, (bottom - top, right - left, 3) RGB."""
        return self.shrink(left, top, right, bottom, (right - left, bottom - top))

    def sample(self, rows: Int64Array, columns: Int64Array) -> UInt8Array:
        """Read single pixels, inside the picture: (..., 3) RGB for rows and columns, broadcast."""
        x, y = columns, rows
        if self._to_display is not UNCHANGED:
            back = self._to_display.invert().apply(x.astype(np.float64), y.astype(np.float64))
            x, y = (np.rint(each).astype(np.int64) for each in back)
        shape = np.broadcast_shapes(x.shape, y.shape)
        channels = [
            plane.samples[y // plane.down, x // plane.across].reshape(math.prod(shape), 1, -1)
            for plane in self._planes
        ]
        return self._convert(channels).reshape(*shape, 3)

    def _warp(
        self, planes: Sequence[Plane], affine: Affine, side: int, *, averages: bool
    ) -> list[UInt8Array]:
        """Sample a region of planes; outside the picture RGB is black, and YUV is repeated."""
        if self._to_display is not UNCHANGED:
            affine = affine.after(self._to_display)
        border = cv2.BORDER_CONSTANT if self._rgb_matrix is None else cv2.BORDER_REPLICATE
        warped: list[UInt8Array] = []
        for plane in planes:
            samples, to_result = plane.samples, affine.rescale(plane.across, plane.down)
            sampled_side = side
            if averages:
                samples, to_result = _average_region(samples, to_result, side)
            elif plane.across > 1 and plane.down > 1 and side % 2 == 0:
                to_result, sampled_side = _HALF.after(to_result), side // 2
            sampled = cv2.warpAffine(
                samples,
                to_result.to_matrix(),
                (sampled_side, sampled_side),
                flags=cv2.INTER_LINEAR,
                borderMode=border,
            )
            if sampled_side != side:
                sampled = cv2.resize(sampled, (side, side), interpolation=cv2.INTER_LINEAR)
            warped.append(sampled.astype(np.uint8, copy=False))
        return warped

    def _average(
        self,
        planes: Sequence[Plane],
        box: tuple[int, int, int, int],
        size: tuple[int, int],
    ) -> list[UInt8Array]:
        left, top, right, bottom = box
        if self._to_display is not UNCHANGED:
            back = self._to_display.invert().apply
            corners = back(left - 0.5, top - 0.5), back(right - 0.5, bottom - 0.5)
            left, right = sorted(round(x + 0.5) for x, _ in corners)
            top, bottom = sorted(round(y + 0.5) for _, y in corners)
        across, down = size[::-1] if self._quarter_turns % 2 else size
        parts: list[UInt8Array] = []
        for plane in planes:
            rows = slice(top // plane.down, -(-bottom // plane.down))
            columns = slice(left // plane.across, -(-right // plane.across))
            parts.append(_halve_repeatedly(plane.samples[rows, columns], across, down))
        if len({each.shape for each in parts}) == 1:
            parts = [_join(parts)]
        return [_resize(each, across, down) for each in parts]

    def _convert(self, channels: Sequence[UInt8Array]) -> UInt8Array:
        """Convert the channels of one size to RGB."""
        joined = _join(channels)
        if self._rgb_matrix is None:
            return joined
        return cv2.transform(joined, self._rgb_matrix).astype(np.uint8, copy=False)

    def _to_luma(self, channels: Sequence[UInt8Array]) -> UInt8Array:
        (first,) = channels
        if self._rgb_matrix is None:
            first = cv2.cvtColor(first, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
        return first

    def _turn(self, pixels: UInt8Array) -> UInt8Array:
        """Turn pixels as coded to pixels as displayed."""
        if self._to_display is UNCHANGED:
            return pixels
        shown = pixels[:, ::-1] if self._mirrored else pixels
        return np.ascontiguousarray(np.rot90(shown, self._quarter_turns))


def _measure_coverage(affine: Affine, shape: tuple[int, int], side: int) -> Float32Array | None:
    """Measure the share of a picture in each sampled pixel, (side, side); None: all is in it."""
    back, (height, width) = affine.invert(), shape
    left, top, right, bottom = back.bound(0, side - 1)
    if left >= 0 and top >= 0 and right <= width - 1 and bottom <= height - 1:
        return None
    places = np.arange(side, dtype=np.float64)
    x, y = back.apply(places, places[:, np.newaxis])
    across = np.clip(x + 1, 0, 1) * np.clip(width - x, 0, 1)
    return (across * np.clip(y + 1, 0, 1) * np.clip(height - y, 0, 1)).astype(np.float32)


def _average_region(samples: UInt8Array, affine: Affine, side: int) -> tuple[UInt8Array, Affine]:
    """Shrink the samples in a region by the whole factors in its transform; adapt the latter."""
    across, down = (max(1, int(1 / max(each, 1e-6))) for each in affine.scales)
    if across == down == 1:
        return samples, affine
    height, width = samples.shape[:2]
    left, top, right, bottom = affine.invert().bound(0, side)
    left, top = max(math.floor(left) - across, 0), max(math.floor(top) - down, 0)
    right, bottom = min(math.ceil(right) + across, width), min(math.ceil(bottom) + down, height)
    columns, rows = (right - left) // across, (bottom - top) // down
    if columns < 1 or rows < 1:
        return samples, affine
    part = samples[top : top + rows * down, left : left + columns * across]
    return _average_blocks(part, across, down), affine.rescale(across, down, left, top)


def _average_blocks(part: UInt8Array, across: int, down: int) -> UInt8Array:
    """Average whole blocks of samples; for other factors than 2 a blur is faster than scaling."""
    while across % 2 == down % 2 == 0:
        across, down = across // 2, down // 2
        part = _resize(part, part.shape[1] // 2, part.shape[0] // 2)
    if across == down == 1:
        return part
    blurred = cv2.blur(part, (across, down)).astype(np.uint8, copy=False)
    return np.ascontiguousarray(blurred[down // 2 :: down, across // 2 :: across])


def _halve_repeatedly(part: UInt8Array, columns: int, rows: int) -> UInt8Array:
    """Halve samples while they are of twice the size or more, and even: that is fast."""
    height, width = part.shape[:2]
    while width >= 2 * columns and height >= 2 * rows and not (width % 2 or height % 2):
        width, height = width // 2, height // 2
        part = _resize(part, width, height)
    return part


def _resize(part: UInt8Array, columns: int, rows: int) -> UInt8Array:
    """Scale by averages."""
    if part.shape[:2] == (rows, columns):
        return part
    small = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)
    return small.astype(np.uint8, copy=False)


def _join(channels: Sequence[UInt8Array]) -> UInt8Array:
    return channels[0] if len(channels) == 1 else cv2.merge(channels).astype(np.uint8, copy=False)
