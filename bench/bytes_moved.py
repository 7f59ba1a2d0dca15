"""Bytes written per frame between decoder and backbones, counted by reading the code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from service.domain.audio_grid import MEL_BANDS, PATCH_HOPS
from service.domain.model_signatures import CROP_BYTES

PLANE_BYTES_PER_PIXEL: Final = 1.5
"""Of the decoder's planes (4:2:0), which are not copied: faces are read from them."""
CROP_COPIES: Final = (
    "cut from the planes",
    "turned to channels first",
    "stacked to a chunk",
    "encoded to a message",
    "written to the pipe",
    "read from the pipe",
    "copied to shared memory",
    "copied to the model process",
    "copied to a tensor",
)
PATCH_COPIES: Final = (
    "computed as log-mel",
    "copied to shared memory",
    "copied to the model process",
    "copied to a tensor",
)
_PATCH_BYTES: Final = 4 * PATCH_HOPS * MEL_BANDS


def count_bytes(height: int, width: int) -> Mapping[str, float]:
    """Count the bytes written per frame of a clip with one face and audio, by what they hold."""
    return {
        "decoded planes": PLANE_BYTES_PER_PIXEL * height * width,
        "crops": float(CROP_BYTES * len(CROP_COPIES)),
        "log-mel patches": float(_PATCH_BYTES * len(PATCH_COPIES)),
    }
