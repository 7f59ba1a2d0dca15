"""Truncation of a streamed container, compared with that of the same bytes in a file."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from service.media.growing_file import ContainerScanner
from service.media.truncation import is_truncated, was_truncated


def make_mp4_box(kind: bytes, size: int) -> bytes:
    return struct.pack(">I4s", size, kind) + bytes(size - 8)


def make_ogg_page(kind: int, size: int) -> bytes:
    return b"OggS\x00" + bytes([kind]) + bytes(20) + b"\x01" + bytes([size]) + bytes(size)


FILES = {
    "boxes": make_mp4_box(b"ftyp", 24)
    + make_mp4_box(b"free", 8)
    + make_mp4_box(b"moov", 40)
    + make_mp4_box(b"mdat", 30),
    "large box": make_mp4_box(b"ftyp", 16) + struct.pack(">I4sQ", 1, b"mdat", 50) + bytes(34),
    "box to the end": make_mp4_box(b"ftyp", 16)
    + make_mp4_box(b"moov", 12)
    + struct.pack(">I4s", 0, b"mdat") * 3,
    "box of no kind": make_mp4_box(b"ftyp", 16)
    + make_mp4_box(b"what", 12)
    + make_mp4_box(b"mdat", 9),
    "no box": make_mp4_box(b"ftyp", 16) + struct.pack(">I4s", 5, b"mdat") + bytes(20),
    "riff": b"RIFF" + struct.pack("<I", 40) + b"AVI " + bytes(36),
    "matroska": b"\x1a\x45\xdf\xa3\x81\x00\x18\x53\x80\x67\x94" + bytes(20),
    "live matroska": b"\x1a\x45\xdf\xa3\x81\x00\x18\x53\x80\x67\xff" + bytes(20),
    "ogg": make_ogg_page(2, 10) + make_ogg_page(0, 20) + make_ogg_page(4, 15),
    "transport stream": b"G" + bytes(60),
}


@pytest.mark.parametrize("name", FILES)
def test_truncation_of_a_streamed_container_matches_that_of_a_file(
    tmp_path: Path, name: str
) -> None:
    content, file = FILES[name], tmp_path / "clip"
    results: set[bool] = set()
    for length in range(len(content) + 1):
        file.write_bytes(content[:length])
        for step in (1, 7, length + 1):
            scanner = ContainerScanner()
            for place in range(0, length, step):
                scanner.add(content[place : min(place + step, length)])
            assert scanner.size == length
            assert was_truncated(scanner) == is_truncated(file)
        results.add(is_truncated(file))
    assert (True in results) == (name not in ("live matroska", "transport stream"))
    assert False in results
