"""Truncation checks: complete, truncated or no clip at all, by the container's structure."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Final

from service.errors import ClipNotMedia
from service.media.clip_handles import ClipSource, open_positional_handle
from service.media.growing_file import HEAD_BYTES, OGG_MAGIC, ContainerScanner, GrowingFile

_RIFF: Final = b"RIFF"
_MATROSKA_MAGIC: Final = b"\x1a\x45\xdf\xa3"
_MATROSKA_SEGMENT: Final = b"\x18\x53\x80\x67"
_MATROSKA_CLUSTER: Final = b"\x1f\x43\xb6\x75"
"""Element that holds frames; the tracks are described before it."""
_FIRST_BOXES: Final = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_BOXES: Final = (*_FIRST_BOXES, b"moof", b"styp", b"sidx", b"uuid", b"meta", b"mfra")
_BOX_HEADER_BYTES: Final = 8
_LONG_BOX_HEADER_BYTES: Final = 16
_MAX_BOXES: Final = 4096
_RIFF_HEADER_BYTES: Final = 12
_MAX_EBML_LENGTH_BYTES: Final = 8
_PAGE_HEADER_BYTES: Final = 27
_MAX_PAGE_BYTES: Final = _PAGE_HEADER_BYTES + 255 + 255 * 255
_LATE_INDEX_MESSAGE: Final = (
    "The index of this file comes after its frames, so it cannot be streamed; write it as"
    " fragmented MP4, or with its index first"
)
_LAST_PAGE: Final = 4
"""Bit of an Ogg page's type that marks the last page of a stream."""


def lacks_index(clip: ClipSource) -> bool:
    """Check whether the file has a clip's signature and ends before its index."""
    with open_positional_handle(clip) as handle:
        size = os.fstat(handle).st_size
        head = os.pread(handle, 12, 0)
        if head.startswith(_MATROSKA_MAGIC):
            rest = os.pread(handle, HEAD_BYTES, len(head))
            return len(rest) < HEAD_BYTES and _MATROSKA_CLUSTER not in rest
        if head[4:8] not in _FIRST_BOXES:
            return _is_file_truncated(handle, size)
        for position, length, kind in _walk_boxes(handle, size):
            if kind == b"moov":
                return position + length > size
            if position + length > size - _BOX_HEADER_BYTES:
                return True
    return False


def is_truncated(clip: ClipSource) -> bool:
    """Check whether the file ends before the end that its top-level structure declares.

    Containers without such a structure (transport and program streams, Flash) are never truncated.
    """
    with open_positional_handle(clip) as handle:
        return _is_file_truncated(handle, os.fstat(handle).st_size)


def refuse_late_index(file: GrowingFile) -> None:
    """Check that an arriving file can be read from its beginning.

    Raises: ClipNotMedia: an MP4 or QuickTime file with its frames before its index.
    """
    if file.wait_for_head(_BOX_HEADER_BYTES)[4:8] not in _FIRST_BOXES:
        return
    position = 0
    while True:
        box = file.wait_for_head(position + _LONG_BOX_HEADER_BYTES)[position:]
        if len(box) < _BOX_HEADER_BYTES or position > HEAD_BYTES // 2:
            return
        length, kind = struct.unpack(">I4s", box[:_BOX_HEADER_BYTES])
        if kind in (b"moov", b"moof") or length < _BOX_HEADER_BYTES:
            return
        if kind == b"mdat":
            raise ClipNotMedia(_LATE_INDEX_MESSAGE)
        position += length


def has_clip_signature(file: GrowingFile) -> bool:
    """Check whether a file that has arrived in full has a clip's signature."""
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
    """Check whether a scanned file is truncated, by the same rules as `is_truncated`."""
    head = bytes(scanner.head[:64])
    if head.startswith(OGG_MAGIC):
        return not _is_ogg_complete(scanner.tail(_MAX_PAGE_BYTES))
    if head[4:8] in _FIRST_BOXES:
        end, kind = scanner.last_box()
        return kind in _BOXES and end > scanner.size
    return _declares_more_bytes(head, scanner.size)


def _declares_more_bytes(head: bytes, size: int) -> bool:
    """Check whether a RIFF or Matroska header declares more bytes than there are."""
    if head.startswith(_RIFF) and len(head) >= _RIFF_HEADER_BYTES:
        (length,) = struct.unpack("<I", head[4:8])
        return 0 < length < 2**32 - 1 and length + 8 > size
    return head.startswith(_MATROSKA_MAGIC) and _is_matroska_truncated(head, size)


def _walk_boxes(handle: int, size: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield position, length and type of an ISO file's top-level boxes."""
    position = 0
    for _ in range(_MAX_BOXES):
        box = os.pread(handle, _LONG_BOX_HEADER_BYTES, min(position, size))
        if len(box) < _BOX_HEADER_BYTES:
            return
        length, kind = struct.unpack(">I4s", box[:_BOX_HEADER_BYTES])
        if length == 1 and len(box) == _LONG_BOX_HEADER_BYTES:
            (length,) = struct.unpack(">Q", box[_BOX_HEADER_BYTES:])
        length = length or size - position
        if length < _BOX_HEADER_BYTES:
            return
        yield position, length, kind
        position += length


def _is_matroska_truncated(head: bytes, size: int) -> bool:
    """Check whether the segment extends beyond the file; live recordings declare no length."""
    length, place = _read_length(head, len(_MATROSKA_MAGIC))
    segment = place + (length or 0)
    if head[segment : segment + 4] != _MATROSKA_SEGMENT:
        return False
    length, place = _read_length(head, segment + 4)
    return length is not None and place + length > size


def _read_length(head: bytes, offset: int) -> tuple[int | None, int]:
    """Read an EBML length; returns it (None: unknown) and the offset after it."""
    first = head[offset] if offset < len(head) else 0
    width = 9 - first.bit_length()
    if width > _MAX_EBML_LENGTH_BYTES:
        return None, offset + 1
    value = int.from_bytes(head[offset : offset + width]) & (1 << 7 * width) - 1
    return (None if value == (1 << 7 * width) - 1 else value), offset + width


def _is_ogg_complete(tail: bytes) -> bool:
    """Check whether the last page is complete and marked as the last of its stream."""
    page = tail[max(0, tail.rfind(OGG_MAGIC)) :]
    if len(page) < _PAGE_HEADER_BYTES or not page[5] & _LAST_PAGE:
        return False
    segment_count = page[_PAGE_HEADER_BYTES - 1]
    body = _PAGE_HEADER_BYTES + segment_count
    return len(page) >= body + sum(page[_PAGE_HEADER_BYTES:body])
