"""From coded pixels to what a viewer sees: upright and with square pixels."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import cv2
import numpy as np

from service.domain.arrays import Bytes

_TURNS: Final = {
    1: cv2.ROTATE_90_COUNTERCLOCKWISE,
    2: cv2.ROTATE_180,
    3: cv2.ROTATE_90_CLOCKWISE,
}


def rotation_of(degrees: int) -> int:
    """Quarter turns counter-clockwise, 0 to 3, that make a frame of this rotation upright."""
    return round(degrees / 90) % 4


def display_size(width: int, height: int, pixel_aspect: Fraction | None) -> tuple[int, int]:
    """Size with square pixels, before rotation; the height stays, as players do it."""
    aspect = pixel_aspect or Fraction(1)
    return max(1, round(width * aspect)), height


def show(coded: Bytes, rotation_degrees: int, pixel_aspect: Fraction | None) -> Bytes:
    """Turn (H, W, 3) RGB as coded into the (H', W', 3) that is displayed."""
    height, width = coded.shape[:2]
    size = display_size(width, height, pixel_aspect)
    if size != (width, height):
        coded = cv2.resize(coded, size, interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
    turns = rotation_of(rotation_degrees)
    return cv2.rotate(coded, _TURNS[turns]).astype(np.uint8, copy=False) if turns else coded
