"""Tells a cut file from a whole one, and from one that never was a clip, by its structure."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Final

from service.errors import ClipNotMedia
from service.media.clip_handles import ClipSource, open_positional_handle
from service.media.container_scanner import OGG_MAGIC, ContainerScanner
from service.media.growing_file import GrowingFile

_RIFF: Final = b"RIFF"
_MATROSKA_MAGIC: Final = b"\x1a\x45\xdf\xa3"
_MATROSKA_SEGMENT: Final = b"\x18\x53\x80\x67"
_MATROSKA_CLUSTER: Final = b"\x1f\x43\xb6\x75"
"""Begins the frames; what the tracks are stands before it."""
_MAX_HEAD_BYTES: Final = 2**20
_FIRST_BOXES: Final = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_BOXES: Final = (*_FIRST_BOXES, b"moof", b"styp", b"sidx", b"uuid", b"meta", b"mfra")
_MAX_BOXES: Final = 4096
_MAX_PAGE_BYTES: Final = 27 + 255 + 255 * 255
_LATE_INDEX_MESSAGE: Final = (
    "The index of this file comes after its frames, so it cannot be streamed; write it as"
    " fragmented MP4, or with its index first"
)
_LAST_PAGE: Final = 4
"""The bit of an Ogg page's type that marks the last one of a stream."""


def lacks_index(clip: ClipSource) -> bool:
    """Whether the file begins like a clip, and ends before it says what is in it."""
    with open_positional_handle(clip) as handle:
        size = os.fstat(handle).st_size
        head = os.pread(handle, 12, 0)
        if head.startswith(_MATROSKA_MAGIC):
            rest = os.pread(handle, _MAX_HEAD_BYTES, len(head))
            return len(rest) < _MAX_HEAD_BYTES and _MATROSKA_CLUSTER not in rest
        if head[4:8] not in _FIRST_BOXES:
            return _is_file_truncated(handle, size)
        for position, length, kind in _walk_boxes(handle, size):
            if kind == b"moov":
                return position + length > size
            if position + length > size - 8:
                return True
    return False


def is_truncated(clip: ClipSource) -> bool:
    """Whether the file ends before its outermost structure says that it does.

    Containers that have none (transport and program streams, Flash) never are.
    """
    with open_positional_handle(clip) as handle:
        return _is_file_truncated(handle, os.fstat(handle).st_size)


def refuse_late_index(file: GrowingFile) -> None:
    """Refuse what is coming if it can be read only from its end.

    Raises: ClipNotMedia: an MP4 or QuickTime file whose frames stand before its index.
    """
    if file.wait_for_head(8)[4:8] not in _FIRST_BOXES:
        return
    position = 0
    while len(box := file.wait_for_head(position + 16)[position:]) >= 8:
        length, kind = struct.unpack(">I4s", box[:8])
        if kind in (b"moov", b"moof") or length < 8 or position > _MAX_HEAD_BYTES // 2:
            return
        if kind == b"mdat":
            raise ClipNotMedia(_LATE_INDEX_MESSAGE)
        position += length


def has_clip_signature(file: GrowingFile) -> bool:
    """Whether what has come, and came to its end, begins like a clip."""
    head = file.wait_for_head(12)
    known = head.startswith((_MATROSKA_MAGIC, OGG_MAGIC, _RIFF)) or head[4:8] in _FIRST_BOXES
    return known and file.has_ended


def _is_file_truncated(handle: int, size: int) -> bool:
    head = os.pread(handle, 64, 0)
    if head.startswith(OGG_MAGIC):
        return not _is_ogg_complete(
            os.pread(handle, _MAX_PAGE_BYTES, max(0, size - _MAX_PAGE_BYTES))
        )
    if head[4:8] in _FIRST_BOXES:
        return any(
            kind in _BOXES and position + length > size
            for position, length, kind in _walk_boxes(handle, size)
        )
    return _declares_more_bytes(head, size)


def was_truncated(scanner: ContainerScanner) -> bool:
    """The same of a clip that has gone by."""
    head = bytes(scanner.head[:64])
    if head.startswith(OGG_MAGIC):
        return not _is_ogg_complete(scanner.tail(_MAX_PAGE_BYTES))
    if head[4:8] in _FIRST_BOXES:
        end, kind = scanner.last_box()
        return kind in _BOXES and end > scanner.size
    return _declares_more_bytes(head, scanner.size)


def _declares_more_bytes(head: bytes, size: int) -> bool:
    """Whether a file says in its head that it is longer."""
    if head.startswith(_RIFF) and len(head) >= 12:
        (length,) = struct.unpack("<I", head[4:8])
        return 0 < length < 2**32 - 1 and length + 8 > size
    return head.startswith(_MATROSKA_MAGIC) and _is_matroska_truncated(head, size)


def _walk_boxes(handle: int, size: int) -> Iterator[tuple[int, int, bytes]]:
    """Position, length and kind of an ISO file's outermost boxes."""
    position = 0
    for _ in range(_MAX_BOXES):
        box = os.pread(handle, 16, min(position, size))
        if len(box) < 8:
            return
        length, kind = struct.unpack(">I4s", box[:8])
        if length == 1 and len(box) == 16:
            (length,) = struct.unpack(">Q", box[8:])
        length = length or size - position
        if length < 8:
            return
        yield position, length, kind
        position += length


def _is_matroska_truncated(head: bytes, size: int) -> bool:
    """Whether the segment says that it goes beyond the file; live ones say nothing."""
    length, place = _read_length(head, len(_MATROSKA_MAGIC))
    segment = place + (length or 0)
    if head[segment : segment + 4] != _MATROSKA_SEGMENT:
        return False
    length, place = _read_length(head, segment + 4)
    return length is not None and place + length > size


def _read_length(head: bytes, offset: int) -> tuple[int | None, int]:
    """An EBML length and the place behind it; None: unknown."""
    first = head[offset] if offset < len(head) else 0
    width = 9 - first.bit_length()
    if width > 8:
        return None, offset + 1
    value = int.from_bytes(head[offset : offset + width]) & (1 << 7 * width) - 1
    return (None if value == (1 << 7 * width) - 1 else value), offset + width


def _is_ogg_complete(tail: bytes) -> bool:
    """Whether the last page is whole, and the last of its stream."""
    page = tail[max(0, tail.rfind(OGG_MAGIC)) :]
    if len(page) < 27 or not page[5] & _LAST_PAGE:
        return False
    segments = page[27 : 27 + page[26]]
    return len(page) >= 27 + page[26] + sum(segments)
