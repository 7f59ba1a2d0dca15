"""Bytes written per frame between decoder and backbone, counted by reading the code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from service.domain.model_signatures import CROP_BYTES

_RGB, _I420 = 3.0, 1.5
PICTURE_COPIES: Final[Mapping[str, float]] = {
    "decoder's planes": _I420,
    "conversion to RGB": _RGB,
}
"""Bytes per pixel of the picture."""
CROP_COPIES: Final[Mapping[str, int]] = {
    "cut from the picture": 1,
    "stacked to a chunk": 1,
    "encoded to a message": 1,
    "written to the pipe": 1,
    "read from the pipe": 1,
    "copied to Triton's shared memory": 1,
    "copied to the model process": 1,
    "copied to a tensor": 1,
}
"""Times that a crop is copied."""


def total_bytes(height: int, width: int) -> float:
    """Bytes written per frame of a clip with one face."""
    picture = height * width * sum(PICTURE_COPIES.values())
    return picture + CROP_BYTES * sum(CROP_COPIES.values())
