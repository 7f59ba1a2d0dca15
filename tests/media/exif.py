"""EXIF of JPEG pictures, and side data of H.264 frames, made by hand."""

from __future__ import annotations

import struct
from typing import Final

import cv2

from service.domain.array_types import UInt8Array

ORIENTATION_TAG: Final = 0x112
_SHORT: Final = 3


def encode_jpeg(picture: UInt8Array, exif: bytes = b"") -> bytes:
    """Encode (H, W, 3) RGB with EXIF that is not checked; empty: none."""
    _, encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    content = encoded.tobytes()
    if not exif:
        return content
    body = b"Exif\0\0" + exif
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + content[2:]


def make_orientation(orientation: int, *, big_endian: bool = False) -> bytes:
    """Make EXIF with an orientation of 1 to 8, or an invalid one."""
    order = ">" if big_endian else "<"
    head = b"MM\0*" if big_endian else b"II*\0"
    entry = struct.pack(order + "HHIHH", ORIENTATION_TAG, _SHORT, 1, orientation, 0)
    return head + struct.pack(order + "IH", 8, 1) + entry + bytes(4)
