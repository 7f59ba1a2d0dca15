"""Small files that demand large resources, and files that reference others."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av

from tests.media.encoding import add_video, mux


def encode_black_png(width: int, height: int, *, bits: int = 1) -> bytes:
    """Encode a black PNG of so many bits a pixel; it is compressed a thousandfold."""
    packer = zlib.compressobj(1)
    row = bytes(1 + (width * bits + 7) // 8)
    rows = 256
    parts = [packer.compress(row * min(rows, height - top)) for top in range(0, height, rows)]
    pixels = b"".join(parts) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    checked = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checked)


def write_png_movie(path: Path, *pictures: bytes, width: int, height: int) -> Path:
    """Write PNG pictures as a QuickTime film that declares this size."""
    with av.open(str(path), "w") as container:
        stream = add_video(container, "png", pixel_format="gray")
        for index, picture in enumerate(pictures):
            packet = av.Packet(picture)
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = index
            packet.is_keyframe = True
            mux(container, packet)
    content = bytearray(path.read_bytes())
    struct.pack_into(">HH", content, content.index(b"png ") + 28, width, height)
    path.write_bytes(content)
    return path


def declare_sample_count(clip: Path, count: int) -> Path:
    """Make the first track of an MP4 file declare so many samples, in a few bytes."""
    content = bytearray(clip.read_bytes())
    struct.pack_into(">II", content, content.index(b"stsz") + 8, 1, count)
    struct.pack_into(">I", content, content.index(b"stts") + 12, count)
    clip.write_bytes(content)
    return clip


def repeat_track(clip: Path, times: int) -> Path:
    """Repeat the first track of an MP4 file with its index last."""
    content = bytearray(clip.read_bytes())
    moov, trak = content.index(b"moov") - 4, content.index(b"trak") - 4
    (length,) = struct.unpack_from(">I", content, trak)
    track = bytes(content[trak : trak + length])
    return _insert_and_resize(clip, content, trak, track * (times - 1), moov)


def add_tags(clip: Path, count: int) -> Path:
    """Add so many tags of different names to an MP4 file with its index last."""
    content = bytearray(clip.read_bytes())
    moov = content.index(b"moov") - 4
    (length,) = struct.unpack_from(">I", content, moov)
    handler = _box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    tags = _box(b"ilst", b"".join(_tag(b"%08x" % index) for index in range(count)))
    metadata = _box(b"udta", _box(b"meta", bytes(4) + handler + tags))
    return _insert_and_resize(clip, content, moov + length, metadata, moov)


def reference_external_media(clip: Path, target: Path) -> Path:
    """Replace the pictures of a QuickTime film with its index last by a reference to a file."""
    content = bytearray(clip.read_bytes())
    data = content.index(b"mdat") - 4
    (length,) = struct.unpack_from(">I", content, data)
    content[data + 8 : data + length] = bytes(length - 8)
    place = content.index(b"dref") - 4
    (size,) = struct.unpack_from(">I", content, place)
    path = str(target).encode()
    path += bytes(len(path) % 2)
    alias = bytes(10) + bytes(28) + bytes(12) + bytes(64) + bytes(16) + struct.pack(">HH", 1, 1)
    alias += bytes(16) + struct.pack(">HH", 2, len(path)) + path + struct.pack(">HH", 0xFFFF, 0)
    entry = _box(b"dref", struct.pack(">II", 0, 1) + _box(b"alis", bytes(4) + alias))
    parents = [content.index(name) - 4 for name in (b"moov", b"trak", b"mdia", b"minf", b"dinf")]
    del content[place : place + size]
    for parent in parents:
        _resize_box(content, parent, -size)
    return _insert_and_resize(clip, content, place, entry, *parents)


def _tag(name: bytes) -> bytes:
    mean = _box(b"mean", bytes(4) + b"org.example")
    value = _box(b"data", struct.pack(">II", 1, 0) + b"x")
    return _box(b"----", mean + _box(b"name", bytes(4) + name) + value)


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def _insert_and_resize(
    clip: Path, content: bytearray, at: int, added: bytes, *parents: int
) -> Path:
    content[at:at] = added
    for parent in parents:
        _resize_box(content, parent, len(added))
    clip.write_bytes(content)
    return clip


def _resize_box(content: bytearray, box: int, by: int) -> None:
    (length,) = struct.unpack_from(">I", content, box)
    struct.pack_into(">I", content, box, length + by)
