"""Aligned face crops, one picture per frame; a frame without a file has no face."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from av.codec.context import CodecContext
from av.error import FFmpegError
from av.packet import Packet

from service.domain.array_types import BoolArray, UInt8Array
from service.domain.model_signatures import CROP_SIDE
from training.data.errors import CropsMisnumbered, CropUnreadable

CUT_MANIFEST_FILE: Final = "cut-faces.json"
"""File in a folder of crops that `cut-faces` wrote, where there may be no face at all."""
_FILE_PATTERN: Final = re.compile(r"0*(\d+)\.(?:jpe?g|png)", re.IGNORECASE | re.ASCII)
_PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
_PNG_END: Final = b"IEND\xaeB`\x82"
_JPEG_MAGIC: Final = b"\xff\xd8"
_JPEG_END: Final = b"\xff\xd9"

CropNames = npt.NDArray[np.bytes_]
"""(T,) file names, empty for a frame without a face."""


def format_crop_name(row: int) -> str:
    """Return the challenge's name of a row: its number plus one, with at least five digits."""
    return f"{row + 1:05d}.jpg"


def list_crops(folder: Path, row_count: int) -> tuple[CropNames, int]:
    """List the crops of a recording's rows: JPEG or PNG, in any case, padded with any zeros.

    Returns: the names by row, and how many files are past the last row, which nothing uses.
    Raises: CropsMisnumbered: two files of one row, or crops that count from 0.
    """
    files: dict[int, str] = {}
    surplus = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            match = _FILE_PATTERN.fullmatch(entry.name)
            if match is None:
                continue
            number = int(match[1])
            if number == 0:
                raise CropsMisnumbered(f"{folder / entry.name}: row 1 is file 1, not 0")
            if number > row_count:
                surplus += 1
            elif files.setdefault(number - 1, entry.name) != entry.name:
                raise CropsMisnumbered(f"{folder}: {files[number - 1]} and {entry.name}")
    names = [os.fsencode(files.get(row, "")) for row in range(row_count)]
    return np.array(names, np.bytes_).reshape(row_count), surplus


def read_face_mask(folder: Path, row_count: int) -> BoolArray:
    """Return a (T,) mask of the rows that have a crop; files past the last row are ignored."""
    return list_crops(folder, row_count)[0] != b""


def read_crop(file: Path) -> UInt8Array:
    """Read a crop as (112, 112, 3) uint8 RGB; other sizes are scaled.

    Raises: CropUnreadable.
    """
    try:
        return decode_crop(file.read_bytes(), file)
    except OSError as error:
        raise CropUnreadable(f"{file}: {error.strerror}") from error


def decode_crop(content: bytes, file: Path) -> UInt8Array:
    """Decode the content of a file, as `read_crop` does.

    OpenCV fills up a picture that ends early, so its end marker is looked for.

    Raises: CropUnreadable.
    """
    problem = _find_damage(content)
    if problem is not None:
        raise CropUnreadable(f"{file}: {problem}")
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise CropUnreadable(f"{file}: {error}") from error
    if pixels is None:  # pyright: ignore[reportUnnecessaryComparison]  # OpenCV's stubs omit None
        raise CropUnreadable(f"{file}: cannot be decoded")
    if pixels.shape[:2] != (CROP_SIDE, CROP_SIDE):
        pixels = cv2.resize(pixels, (CROP_SIDE, CROP_SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(pixels, np.uint8)


def verify_crop(content: bytes, file: Path) -> None:
    """Decode a crop strictly: OpenCV shows grey where a JPEG is damaged in its middle.

    Raises: CropUnreadable.
    """
    decode_crop(content, file)
    if not content.startswith(_JPEG_MAGIC):
        return
    decoder = CodecContext.create("mjpeg", "r")
    decoder.options = {"err_detect": "explode"}
    try:
        frames = [*decoder.decode(Packet(content)), *decoder.decode(None)]
    except FFmpegError as error:
        raise CropUnreadable(f"{file}: is damaged") from error
    if not frames or frames[0].is_corrupt:
        raise CropUnreadable(f"{file}: is damaged")


def _find_damage(content: bytes) -> str | None:
    """Return why a picture is broken, as far as its beginning and end show; None: it is whole."""
    if not content:
        return "is empty"
    if content.startswith(_JPEG_MAGIC):
        return None if _JPEG_END in content[-1024:] else "ends early"
    if content.startswith(_PNG_MAGIC):
        return None if _PNG_END in content[-1024:] else "ends early"
    return "is neither JPEG nor PNG"
