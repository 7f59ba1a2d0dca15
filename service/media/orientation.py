"""From coded pixels to what a viewer sees: upright, not mirrored, and with square pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, cast

import cv2
import numpy as np
from av.sidedata.sidedata import SideData, Type
from av.video.frame import VideoFrame

from service.domain.array_types import UInt8Array

_ROTATIONS: Final = {
    90: cv2.ROTATE_90_COUNTERCLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_CLOCKWISE,
}
_ANGLE_TOLERANCE_DEGREES: Final = 1.0
"""An angle so near to a quarter turn is one: matrices carry rounded sines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orientation:
    """How a coded picture is to be turned: mirrored left to right, then counter-clockwise."""

    degrees: int = 0
    """0 to 359."""
    mirrored: bool = False


UPRIGHT: Final = Orientation()


def read_orientation(frame: VideoFrame) -> Orientation:
    """The pose that a frame's display matrix asks for; scaling and shifts in it are no pose."""
    carried = cast(Mapping[Type, SideData], frame.side_data)
    matrix = carried.get(Type.DISPLAYMATRIX)
    return (
        UPRIGHT
        if matrix is None
        else parse_display_matrix(np.frombuffer(bytes(matrix), np.int32).tolist())
    )


def parse_display_matrix(matrix: list[int]) -> Orientation:
    """The pose of nine numbers in FFmpeg's order: (x, y) goes to (ax + cy, bx + dy), y down."""
    a, b, _, c, d, *_ = matrix
    mirrored = a * d - b * c < 0
    across = (-a, -b) if mirrored else (a, b)
    if across == (0, 0):
        return UPRIGHT
    degrees = -math.degrees(math.atan2(across[1], across[0]))
    quarter = 90 * round(degrees / 90)
    near = abs(degrees - quarter) <= _ANGLE_TOLERANCE_DEGREES
    return Orientation(degrees=(quarter if near else round(degrees)) % 360, mirrored=mirrored)


def compute_square_pixel_size(
    width: int, height: int, pixel_aspect: Fraction | None
) -> tuple[int, int]:
    """Size with square pixels, before it is turned; the height stays, as players do it."""
    aspect = pixel_aspect or Fraction(1)
    return max(1, round(width * aspect)), height


def compute_display_size(
    width: int, height: int, pixel_aspect: Fraction | None, orientation: Orientation
) -> tuple[int, int]:
    """Size as displayed; at an odd angle, of the box around the turned picture."""
    width, height = compute_square_pixel_size(width, height, pixel_aspect)
    if orientation.degrees % 90:
        sine, cosine = _sine_cosine(orientation)
        across = width * abs(cosine) + height * abs(sine)
        return math.ceil(across), math.ceil(width * abs(sine) + height * abs(cosine))
    return (height, width) if orientation.degrees % 180 else (width, height)


def to_display(
    coded: UInt8Array, pixel_aspect: Fraction | None, orientation: Orientation
) -> UInt8Array:
    """Turn (H, W, 3) RGB as coded into the (H', W', 3) that is displayed."""
    height, width = coded.shape[:2]
    shown = coded
    if (size := compute_square_pixel_size(width, height, pixel_aspect)) != (width, height):
        shown = cv2.resize(shown, size, interpolation=cv2.INTER_LINEAR)
    if orientation.mirrored:
        shown = cv2.flip(shown, 1)
    if orientation.degrees in _ROTATIONS:
        shown = cv2.rotate(shown, _ROTATIONS[orientation.degrees])
    elif orientation.degrees:
        shown = _rotate(shown.astype(np.uint8, copy=False), orientation)
    return shown.astype(np.uint8, copy=False)


def _rotate(picture: UInt8Array, orientation: Orientation) -> UInt8Array:
    """Turn by any angle into the box around it, black outside the picture."""
    height, width = picture.shape[:2]
    size = compute_display_size(width, height, None, orientation)
    sine, cosine = _sine_cosine(orientation)
    turn = np.array([[cosine, sine], [-sine, cosine]])
    centre = np.array([width - 1, height - 1]) / 2
    shift = (np.array(size) - 1) / 2 - turn @ centre
    matrix = np.column_stack([turn, shift])
    return cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR).astype(np.uint8)


def _sine_cosine(orientation: Orientation) -> tuple[float, float]:
    radians = math.radians(orientation.degrees)
    return math.sin(radians), math.cos(radians)
