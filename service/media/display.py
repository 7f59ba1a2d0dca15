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

from service.domain.arrays import Bytes

_TURNS: Final = {
    90: cv2.ROTATE_90_COUNTERCLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_CLOCKWISE,
}
_SLACK_DEGREES: Final = 1.0
"""An angle so near to a quarter turn is one: matrices carry rounded sines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """How a coded picture is to be turned: mirrored left to right, then counter-clockwise."""

    degrees: int = 0
    """0 to 359."""
    mirrored: bool = False


UPRIGHT: Final = Pose()


def read_pose(frame: VideoFrame) -> Pose:
    """The pose that a frame's display matrix asks for; scaling and shifts in it are no pose."""
    carried = cast(Mapping[Type, SideData], frame.side_data)
    matrix = carried.get(Type.DISPLAYMATRIX)
    return UPRIGHT if matrix is None else pose_of(np.frombuffer(bytes(matrix), np.int32).tolist())


def pose_of(matrix: list[int]) -> Pose:
    """The pose of nine numbers in FFmpeg's order: (x, y) goes to (ax + cy, bx + dy), y down."""
    a, b, _, c, d, *_ = matrix
    mirrored = a * d - b * c < 0
    across = (-a, -b) if mirrored else (a, b)
    if across == (0, 0):
        return UPRIGHT
    degrees = -math.degrees(math.atan2(across[1], across[0]))
    quarter = 90 * round(degrees / 90)
    near = abs(degrees - quarter) <= _SLACK_DEGREES
    return Pose(degrees=(quarter if near else round(degrees)) % 360, mirrored=mirrored)


def square_size(width: int, height: int, pixel_aspect: Fraction | None) -> tuple[int, int]:
    """Size with square pixels, before it is turned; the height stays, as players do it."""
    aspect = pixel_aspect or Fraction(1)
    return max(1, round(width * aspect)), height


def shown_size(
    width: int, height: int, pixel_aspect: Fraction | None, pose: Pose
) -> tuple[int, int]:
    """Size as displayed; at an odd angle, of the box around the turned picture."""
    width, height = square_size(width, height, pixel_aspect)
    if pose.degrees % 90:
        sine, cosine = _sine_cosine(pose)
        across = width * abs(cosine) + height * abs(sine)
        return math.ceil(across), math.ceil(width * abs(sine) + height * abs(cosine))
    return (height, width) if pose.degrees % 180 else (width, height)


def show(coded: Bytes, pixel_aspect: Fraction | None, pose: Pose) -> Bytes:
    """Turn (H, W, 3) RGB as coded into the (H', W', 3) that is displayed."""
    height, width = coded.shape[:2]
    shown = coded
    if (size := square_size(width, height, pixel_aspect)) != (width, height):
        shown = cv2.resize(shown, size, interpolation=cv2.INTER_LINEAR)
    if pose.mirrored:
        shown = cv2.flip(shown, 1)
    if pose.degrees in _TURNS:
        shown = cv2.rotate(shown, _TURNS[pose.degrees])
    elif pose.degrees:
        shown = _turn(shown.astype(np.uint8, copy=False), pose)
    return shown.astype(np.uint8, copy=False)


def _turn(picture: Bytes, pose: Pose) -> Bytes:
    """Turn by any angle into the box around it, black outside the picture."""
    height, width = picture.shape[:2]
    size = shown_size(width, height, None, pose)
    sine, cosine = _sine_cosine(pose)
    turn = np.array([[cosine, sine], [-sine, cosine]])
    centre = np.array([width - 1, height - 1]) / 2
    shift = (np.array(size) - 1) / 2 - turn @ centre
    matrix = np.column_stack([turn, shift])
    return cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR).astype(np.uint8)


def _sine_cosine(pose: Pose) -> tuple[float, float]:
    radians = math.radians(pose.degrees)
    return math.sin(radians), math.cos(radians)
