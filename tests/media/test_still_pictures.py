"""Still pictures in containers that video has too are refused; sequences of pictures are read."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

import av
import numpy as np
import pytest

from service.decoding.extractor import ForkedStreamExtractor
from service.domain.stream import ContainerStreamMedia
from service.errors import ClipNotMedia
from tests.media.decode_workers import Reader, read_frame_count_and_flags
from tests.media.encoding import add_video, encode_video, repeat_picture
from tests.media.stream_extraction import run_stream_extraction, split_bytes

PICTURE = np.full((64, 64, 3), 90, np.uint8)


def _write_avif(path: Path, pictures: int) -> bytes:
    """Write one picture as AVIF, or several as an AVIF sequence."""
    with av.open(str(path), "w", format="avif") as container:
        stream = add_video(container, "libsvtav1")
        stream.codec_context.options = {"preset": "12"}
        encode_video(container, stream, repeat_picture(PICTURE, pictures))
    return path.read_bytes()


def _box(kind: bytes, *contents: bytes) -> bytes:
    content = b"".join(contents)
    return struct.pack(">I4s", len(content) + 8, kind) + content


def _make_heif(brand: bytes, *, handler: bytes = b"pict") -> bytes:
    """Make the structure of a HEIF file, tiles or not, whose pictures cannot be decoded."""
    return (
        _box(b"ftyp", brand, bytes(4), b"mif1miaf")
        + _box(b"meta", bytes(4), _box(b"hdlr", bytes(8), handler, bytes(13)))
        + _box(b"mdat", bytes(5000))
    )


async def _assert_refused_as_still(
    reader: Reader, extractor: ForkedStreamExtractor, clip: Path, content: bytes
) -> None:
    await asyncio.to_thread(clip.write_bytes, content)
    with pytest.raises(ClipNotMedia, match="still picture"):
        await reader.read(clip)
    with pytest.raises(ClipNotMedia, match="still picture"):
        await run_stream_extraction(extractor, ContainerStreamMedia(), split_bytes(content, 4096))


@pytest.mark.parametrize("brand", [b"avif", b"heic", b"mif1", b"isom"])
async def test_a_still_of_any_brand_is_refused(
    reader: Reader, stream_extractor: ForkedStreamExtractor, tmp_path: Path, brand: bytes
) -> None:
    content = _write_avif(tmp_path / "a.avif", 1)
    assert content[8:12] == b"avif"
    renamed = content[:8] + brand + content[12:]
    await _assert_refused_as_still(reader, stream_extractor, tmp_path / "a.mp4", renamed)


@pytest.mark.parametrize(
    "content",
    [
        *map(_make_heif, (b"heic", b"heix", b"heim", b"heis", b"mif2", b"avci", b"j2ki", b"msf1")),
        _make_heif(b"heic", handler=b"mdir"),
        _make_heif(b"heic")[:60],
        _make_heif(b"crx ") + _box(b"moov", bytes(200)),
        _box(b"JXL ", b"\r\n\x87\n") + _box(b"ftyp", b"jxl ", bytes(4), b"jxl ") + bytes(900),
        _box(b"jP  ", b"\r\n\x87\n") + _box(b"ftyp", b"jp2 ", bytes(4), b"jp2 ") + bytes(900),
    ],
)
async def test_the_structure_of_a_still_is_refused(
    reader: Reader, stream_extractor: ForkedStreamExtractor, tmp_path: Path, content: bytes
) -> None:
    await _assert_refused_as_still(reader, stream_extractor, tmp_path / "a.mp4", content)


async def test_a_sequence_of_pictures_is_read_without_its_still(
    reader: Reader, tmp_path: Path
) -> None:
    clip = tmp_path / "a.avif"
    assert _write_avif(clip, 6)[8:12] == b"avis"
    assert (await read_frame_count_and_flags(reader, clip))[0] == 6


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
async def test_a_video_of_one_frame_is_a_video(reader: Reader, tmp_path: Path, name: str) -> None:
    with av.open(str(tmp_path / name), "w") as container:
        encode_video(container, add_video(container, "libx264"), repeat_picture(PICTURE, 1))
    assert (await read_frame_count_and_flags(reader, tmp_path / name))[0] == 1
