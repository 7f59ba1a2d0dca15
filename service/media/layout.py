"""Tells a file that was cut before its index from one that never was a clip."""

from __future__ import annotations

import os
import struct
from typing import Final

from service.media.source import Clip, peek_handle

_MATROSKA_MAGIC: Final = b"\x1a\x45\xdf\xa3"
_MATROSKA_CLUSTER: Final = b"\x1f\x43\xb6\x75"
"""Begins the frames; what the tracks are stands before it."""
_MOST_HEAD_BYTES: Final = 2**20
_FIRST_BOXES: Final = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_MOST_BOXES: Final = 4096


def lacks_index(clip: Clip) -> bool:
    """Whether the file begins like MP4 or Matroska, and ends before its index does."""
    with peek_handle(clip) as handle:
        size = os.fstat(handle).st_size
        head = os.pread(handle, 12, 0)
        if head.startswith(_MATROSKA_MAGIC):
            rest = os.pread(handle, _MOST_HEAD_BYTES, len(head))
            return len(rest) < _MOST_HEAD_BYTES and _MATROSKA_CLUSTER not in rest
        if head[4:8] not in _FIRST_BOXES:
            return False
        position = 0
        for _ in range(_MOST_BOXES):
            box = os.pread(handle, 16, min(position, size))
            if len(box) < 8:
                return True
            length, kind = _measure_box(box, size - position)
            if length < 8:
                return False
            if kind == b"moov":
                return position + length > size
            position += length
    return False


def _measure_box(box: bytes, rest: int) -> tuple[int, bytes]:
    """Length and kind of an ISO box from its first 16 bytes."""
    length, kind = struct.unpack(">I4s", box[:8])
    if length == 1 and len(box) == 16:
        return struct.unpack(">Q", box[8:])[0], kind
    return (rest if length == 0 else length), kind
