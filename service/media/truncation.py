"""Truncation checks: complete, truncated or no clip at all, by the container's structure."""

from __future__ import annotations

import struct
from typing import Final

from service.errors import ClipNotMedia
from service.media.clip_handles import ClipSource
from service.media.file_structure import (
    ASF_DATA,
    ASF_HEADER,
    BOX_HEADER_BYTES,
    LONG_BOX_HEADER_BYTES,
    MATROSKA_CLUSTER,
    MATROSKA_MAGIC,
    FileBytes,
    open_file_bytes,
    walk_boxes,
)
from service.media.growing_file import HEAD_BYTES, OGG_MAGIC, ContainerScanner, GrowingFile
from service.media.still_pictures import refuse_still_picture

_RIFF: Final = b"RIFF"
_MATROSKA_SEGMENT: Final = b"\x18\x53\x80\x67"
_FIRST_BOXES: Final = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_BOXES: Final = (*_FIRST_BOXES, b"moof", b"styp", b"sidx", b"uuid", b"meta", b"mfra")
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
    with open_file_bytes(clip) as file:
        head = file.read(0, 12)
        if head.startswith(MATROSKA_MAGIC):
            rest = file.read(len(head), HEAD_BYTES)
            return len(rest) < HEAD_BYTES and MATROSKA_CLUSTER not in rest
        if head[4:8] not in _FIRST_BOXES:
            return _is_file_truncated(file)
        for position, length, kind in walk_boxes(file):
            if kind == b"moov":
                return position + length > file.size
            if position + length > file.size - BOX_HEADER_BYTES:
                return True
    return False


def is_truncated(clip: ClipSource) -> bool:
    """Check whether the file ends before the end that its top-level structure declares.

    Containers without such a structure (transport and program streams, Flash) are never truncated.
    """
    with open_file_bytes(clip) as file:
        return _is_file_truncated(file)


def refuse_late_index(file: GrowingFile) -> None:
    """Check that an arriving file can be read from its beginning.

    Raises: ClipNotMedia: an MP4 or QuickTime file with its frames before its index.
    """
    if file.wait_for_head(BOX_HEADER_BYTES)[4:8] not in _FIRST_BOXES:
        return
    position = 0
    while True:
        box = file.wait_for_head(position + LONG_BOX_HEADER_BYTES)[position:]
        if len(box) < BOX_HEADER_BYTES or position > HEAD_BYTES // 2:
            return
        length, kind = struct.unpack(">I4s", box[:BOX_HEADER_BYTES])
        if kind in (b"moov", b"moof") or length < BOX_HEADER_BYTES:
            return
        if kind == b"mdat":
            refuse_still_picture(file)
            raise ClipNotMedia(_LATE_INDEX_MESSAGE)
        position += length


def has_clip_signature(file: GrowingFile) -> bool:
    """Check whether a file that has arrived in full has a clip's signature."""
    head = file.wait_for_head(12)
    known = head.startswith((MATROSKA_MAGIC, OGG_MAGIC, _RIFF)) or head[4:8] in _FIRST_BOXES
    return known and file.has_ended


def _is_file_truncated(file: FileBytes) -> bool:
    head = file.read(0, 64)
    if head.startswith(OGG_MAGIC):
        return not _is_ogg_complete(file.read(max(0, file.size - _MAX_PAGE_BYTES), _MAX_PAGE_BYTES))
    if head[4:8] in _FIRST_BOXES:
        return any(
            kind in _BOXES and position + length > file.size
            for position, length, kind in walk_boxes(file)
        )
    return _declares_more_bytes(file.read(0, HEAD_BYTES), file.size)


def was_truncated(scanner: ContainerScanner) -> bool:
    """Check whether a scanned file is truncated, by the same rules as `is_truncated`."""
    head = bytes(scanner.head)
    if head.startswith(OGG_MAGIC):
        return not _is_ogg_complete(scanner.tail(_MAX_PAGE_BYTES))
    if head[4:8] in _FIRST_BOXES:
        end, kind = scanner.last_box()
        return kind in _BOXES and end > scanner.size
    return _declares_more_bytes(head, scanner.size)


def _declares_more_bytes(head: bytes, size: int) -> bool:
    """Check whether a RIFF, ASF or Matroska header declares more bytes than there are."""
    if head.startswith(_RIFF) and len(head) >= _RIFF_HEADER_BYTES:
        (length,) = struct.unpack("<I", head[4:8])
        return 0 < length < 2**32 - 1 and length + 8 > size
    if head.startswith(ASF_HEADER):
        return _is_asf_truncated(head, size)
    return head.startswith(MATROSKA_MAGIC) and _is_matroska_truncated(head, size)


def _is_asf_truncated(head: bytes, size: int) -> bool:
    """Check whether the header or the data extend beyond the file."""
    data = int.from_bytes(head[16:24], "little")
    if head[data : data + 16] != ASF_DATA:
        return data > size
    return data + int.from_bytes(head[data + 16 : data + 24], "little") > size


def _is_matroska_truncated(head: bytes, size: int) -> bool:
    """Check whether the segment extends beyond the file; live recordings declare no length."""
    length, place = _read_length(head, len(MATROSKA_MAGIC))
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
