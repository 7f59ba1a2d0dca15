"""Aligned face crops, one JPEG file per frame; a frame without a file has no face."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from service.domain.array_types import BoolArray, UInt8Array
from service.domain.model_signatures import CROP_SIDE
from training.data.errors import CropUnreadable

_FILE_PATTERN: Final = re.compile(r"(\d{5,})\.jpg")


def format_crop_name(row: int) -> str:
    """Return the file name of a row: its number plus one, with at least five digits."""
    return f"{row + 1:05d}.jpg"


def read_face_mask(folder: Path, row_count: int) -> BoolArray:
    """Return a (T,) mask of the rows that have a crop; files past the last row are ignored."""
    faces = np.zeros(row_count, np.bool_)
    with os.scandir(folder) as entries:
        for entry in entries:
            match = _FILE_PATTERN.fullmatch(entry.name)
            if match is not None and 0 < int(match[1]) <= row_count:
                faces[int(match[1]) - 1] = True
    return faces


def read_crop(folder: Path, row: int) -> UInt8Array:
    """Read a crop as (112, 112, 3) uint8 RGB; other sizes are scaled.

    Raises: CropUnreadable.
    """
    file = folder / format_crop_name(row)
    pixels = cv2.imread(str(file), cv2.IMREAD_COLOR_RGB)
    if pixels is None:  # pyright: ignore[reportUnnecessaryComparison]  # OpenCV's stubs omit None
        raise CropUnreadable(str(file))
    if pixels.shape[:2] != (CROP_SIDE, CROP_SIDE):
        pixels = cv2.resize(pixels, (CROP_SIDE, CROP_SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(pixels, np.uint8)
