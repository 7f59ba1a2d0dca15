"""Structure of a clip's file: bytes at any place of it, and the boxes of ISO files."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from service.media.clip_handles import ClipSource, open_positional_handle
from service.media.growing_file import GrowingFile

MATROSKA_MAGIC: Final = b"\x1a\x45\xdf\xa3"
MATROSKA_CLUSTER: Final = b"\x1f\x43\xb6\x75"
"""Element that holds frames; the tracks are described before it."""
ASF_HEADER: Final = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_DATA: Final = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
BOX_HEADER_BYTES: Final = 8
LONG_BOX_HEADER_BYTES: Final = 16
_MAX_BOXES: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class FileBytes:
    """Bytes of a file. read: returns up to `count` bytes from an offset; size: of the file."""

    read: Callable[[int, int], bytes]
    size: int

    @staticmethod
    def of(content: bytes) -> FileBytes:
        """Make the bytes of a file, or of a box, that is in memory."""
        return FileBytes(
            read=lambda offset, count: content[offset : offset + count], size=len(content)
        )


@contextlib.contextmanager
def open_file_bytes(clip: ClipSource | GrowingFile) -> Generator[FileBytes]:
    """Open the bytes of a clip; of one that is still arriving, the first MiB as far as it came."""
    if isinstance(clip, GrowingFile):
        yield FileBytes.of(bytes(clip.scanner.head))
        return
    with open_positional_handle(clip) as handle:
        yield FileBytes(
            read=lambda offset, count: os.pread(handle, count, offset),
            size=os.fstat(handle).st_size,
        )


class IsoBox(NamedTuple):
    """ISO box: the offset of its header, its length with the header, its type."""

    position: int
    length: int
    kind: bytes


def walk_boxes(file: FileBytes) -> Iterator[IsoBox]:
    """Yield the top-level boxes of an ISO file; the last one may extend beyond the file."""
    position = 0
    for _ in range(_MAX_BOXES):
        header = file.read(min(position, file.size), LONG_BOX_HEADER_BYTES)
        if len(header) < BOX_HEADER_BYTES:
            return
        length, kind = struct.unpack(">I4s", header[:BOX_HEADER_BYTES])
        if length == 1 and len(header) == LONG_BOX_HEADER_BYTES:
            (length,) = struct.unpack(">Q", header[BOX_HEADER_BYTES:])
        length = length or file.size - position
        if length < BOX_HEADER_BYTES:
            return
        yield IsoBox(position, length, kind)
        position += length
