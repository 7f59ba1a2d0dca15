"""File edits that no muxer makes, as build steps of cases."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path


def concatenate_files(*parts: str, into: str) -> Callable[[Path], None]:
    """Concatenate files, as is valid for transport streams."""

    def step(folder: Path) -> None:
        (folder / into).write_bytes(b"".join((folder / part).read_bytes() for part in parts))

    return step


def rename_file(name: str, to: str) -> Callable[[Path], None]:
    def step(folder: Path) -> None:
        (folder / name).rename(folder / to)

    return step


def rename_duration_tags(name: str) -> Callable[[Path], None]:
    """Rename Matroska's DURATION tags, so that the file alone declares a duration."""

    def step(folder: Path) -> None:
        content = (folder / name).read_bytes()
        assert b"DURATION" in content
        (folder / name).write_bytes(content.replace(b"DURATION", b"SOMETHIN"))

    return step


def drop_first_packets(name: str, share: float) -> Callable[[Path], None]:
    """Drop the first packets of a transport stream, a share of all."""

    def step(folder: Path) -> None:
        content = (folder / name).read_bytes()
        packets = int(len(content) // 188 * share)
        (folder / name).write_bytes(content[188 * packets :])

    return step


def set_edit_list(name: str, *edits: tuple[int, int]) -> Callable[[Path], None]:
    """Give the first track of an MP4 file these edits: (duration, media time) in their clocks.

    The file must have its index last, and a first track that has an edit list already.
    """

    def step(folder: Path) -> None:
        content = (folder / name).read_bytes()
        at = content.index(b"elst") - 4
        (length,) = struct.unpack_from(">I", content, at)
        body = struct.pack(">I4sII", 16 + 12 * len(edits), b"elst", 0, len(edits))
        body += b"".join(struct.pack(">IiI", *each, 1 << 16) for each in edits)
        grown = bytearray(content[:at] + body + content[at + length :])
        for box in (b"moov", b"trak", b"edts"):
            place = grown.index(box) - 4
            (size,) = struct.unpack_from(">I", grown, place)
            struct.pack_into(">I", grown, place, size + len(body) - length)
        (folder / name).write_bytes(grown)

    return step


def set_display_matrix(
    name: str, matrix: tuple[float, float, float, float]
) -> Callable[[Path], None]:
    """Write (a, b, c, d) of the display matrix into an MP4 file's first track header."""

    def step(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        place = content.index(b"tkhd") + 4 + 4 + 20 + 8 + 8  # version 0: times, ids, duration
        a, b, c, d = (round(value * 65536) for value in matrix)
        struct.pack_into(">9i", content, place, a, b, 0, c, d, 0, 0, 0, 1 << 30)
        (folder / name).write_bytes(content)

    return step
