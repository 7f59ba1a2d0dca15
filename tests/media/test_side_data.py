"""Side data of frames: orientation by EXIF and display matrix; kinds that PyAV cannot name."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from service.decoding.extractor import ForkedStreamExtractor
from service.domain.array_types import UInt8Array
from service.domain.media import Flag
from service.domain.stream import (
    FrameEncoding,
    FramesExtracted,
    FrameStreamMedia,
    FrameUnreadable,
    StreamFrame,
)
from service.media.jpeg import JpegReader
from tests.media import hostile_files
from tests.media.clip_factory import VideoTrack, encode_clip
from tests.media.decode_workers import Reader, read_frame_count_and_flags
from tests.media.encoding import add_from_template, add_video, mux
from tests.media.exif import encode_jpeg, make_orientation
from tests.media.in_process_reading import read_video
from tests.media.stream_extraction import run_stream_extraction
from tests.media_corpus.file_edits import set_display_matrix

MAX_PIXELS = 10_000
FRAMES = 4
LCEVC_MESSAGE = bytes((0, 0, 1, 6, 4, 8, 0xB4, 0, 0x50, 0, 1, 2, 3, 4, 0x80))
"""NAL unit with user data of ITU-T T.35: country UK, provider V-Nova."""
FIRST_SLICE = re.compile(rb"(?=\x00\x00\x01[\x01\x41\x61\x65])")


def _draw_corners() -> UInt8Array:
    """Draw (48, 64, 3) RGB whose corners tell all eight orientations apart."""
    picture = np.full((48, 64, 3), 128, np.uint8)
    for rows, columns, colour in (
        (slice(None, 16), slice(None, 24), (255, 0, 0)),
        (slice(-16, None), slice(None, 24), (0, 255, 0)),
        (slice(None, 16), slice(-24, None), (0, 0, 255)),
    ):
        picture[rows, columns] = colour
    return picture


def _write_jpegs(clip: Path, *jpegs: bytes) -> Path:
    """Write Motion JPEG at 25 pictures a second."""
    with av.open(str(clip), "w") as container:
        stream = add_video(container, "mjpeg", size=(64, 48), pixel_format="yuvj420p")
        for index, jpeg in enumerate(jpegs):
            packet = av.Packet(jpeg)
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = index
            packet.is_keyframe = True
            mux(container, packet)
    return clip


@pytest.mark.parametrize("orientation", range(10))
def test_exif_orientation_of_live_jpegs_is_applied(orientation: int) -> None:
    picture = _draw_corners()
    for big_endian in (False, True):
        jpeg = encode_jpeg(picture, make_orientation(orientation, big_endian=big_endian))
        expected = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
        actual = JpegReader(max_pixels=MAX_PIXELS).read(jpeg)
        assert expected is not None
        assert actual is not None
        assert expected.shape == (*actual.shape, 3)
        # chroma is interpolated differently beside edges
        difference = np.abs(actual.to_rgb().astype(int) - expected.astype(int)).max(axis=-1)
        assert np.mean(difference > 8) < 0.1


def test_orientation_of_one_jpeg_does_not_last() -> None:
    picture = _draw_corners()
    reader = JpegReader(max_pixels=MAX_PIXELS)
    turned, plain = encode_jpeg(picture, make_orientation(6)), encode_jpeg(picture)
    shapes = [each.shape for each in map(reader.read, (turned, plain)) if each is not None]
    assert shapes == [(64, 48), (48, 64)]
    assert (reader.failures, reader.size_changes) == (0, 1)


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"II*\0",
        b"\xff" * 40,
        b"II*\0\xff\xff\xff\xff",
        make_orientation(6)[:-8],
        b"MM\0*" + struct.pack(">IH", 8, 65_535) + bytes(200),
        bytes(range(256)),
    ],
)
async def test_broken_exif_costs_no_frame_of_a_live_stream(
    stream_extractor: ForkedStreamExtractor, exif: bytes
) -> None:
    picture = _draw_corners()
    jpegs = [encode_jpeg(picture, exif), encode_jpeg(picture, make_orientation(8))]
    frames = [
        StreamFrame(time_seconds=index / 25, data=jpeg, arrived_at=0.0)
        for index, jpeg in enumerate(jpegs)
    ]
    events = await run_stream_extraction(
        stream_extractor, FrameStreamMedia(encoding=FrameEncoding.JPEG), frames
    )
    assert sum(isinstance(each, FramesExtracted) for each in events) == len(jpegs)
    assert not any(isinstance(each, FrameUnreadable) for each in events)


@pytest.mark.parametrize("name", ["a.avi", "a.mov", "a.mkv"])
async def test_motion_jpeg_with_exif_is_decoded_upright(
    reader: Reader, tmp_path: Path, name: str
) -> None:
    jpeg = encode_jpeg(_draw_corners(), make_orientation(7))
    clip = _write_jpegs(tmp_path / name, *[jpeg] * FRAMES)
    assert await read_frame_count_and_flags(reader, clip) == (
        FRAMES,
        {Flag.NO_AUDIO, Flag.NO_FACE},
    )
    reading = read_video(clip)
    assert (reading.media.rotation_degrees, reading.media.mirrored) == (270, True)
    assert [pixels.shape for pixels in reading.pixels] == [(64, 48, 3)] * FRAMES


@pytest.mark.parametrize(
    ("exif", "expected"), [(b"", (180, False)), (make_orientation(7), (270, True))]
)
def test_exif_replaces_the_display_matrix_of_the_container(
    tmp_path: Path, exif: bytes, expected: tuple[int, bool]
) -> None:
    _write_jpegs(tmp_path / "a.mov", *[encode_jpeg(_draw_corners(), exif)] * FRAMES)
    set_display_matrix("a.mov", (-1, 0, 0, -1))(tmp_path)
    media = read_video(tmp_path / "a.mov").media
    assert (media.rotation_degrees, media.mirrored) == expected


def test_display_matrix_is_read_beside_unnamed_side_data(tmp_path: Path) -> None:
    clip = _encode_with_lcevc(tmp_path / "a.mp4")
    set_display_matrix("a.mp4", (0, 1, 1, 0))(tmp_path)
    media = read_video(clip).media
    assert (media.rotation_degrees, media.mirrored) == (90, True)


async def test_frames_with_unnamed_side_data_are_decoded(reader: Reader, tmp_path: Path) -> None:
    frames, flags = await read_frame_count_and_flags(reader, _encode_with_lcevc(tmp_path / "a.mp4"))
    assert (frames, flags) == (FRAMES, {Flag.NO_AUDIO, Flag.NO_FACE})


def _encode_with_lcevc(clip: Path) -> Path:
    """Encode H.264 with side data of a kind that PyAV has no name for in every frame."""
    plain = encode_clip(clip.with_suffix(".ts"), VideoTrack(size=(64, 48), count=FRAMES))
    with av.open(str(plain)) as source, av.open(str(clip), "w") as target:
        stream = add_from_template(target, source.streams.video[0])
        packets: Iterator[Any] = source.demux(source.streams.video[0])
        for packet in packets:
            if packet.size:
                content = FIRST_SLICE.sub(LCEVC_MESSAGE, bytes(packet), count=1)
                changed: Any = av.Packet(content)
                changed.stream, changed.time_base = stream, packet.time_base
                changed.pts, changed.dts = packet.pts, packet.dts
                changed.is_keyframe = packet.is_keyframe
                mux(target, changed)
    with av.open(str(clip)) as container:
        for frame in container.decode(video=0):
            with pytest.raises(ValueError, match="not a valid Type"):
                len(frame.side_data)
    return clip


async def test_png_with_a_named_colour_profile_is_decoded(reader: Reader, tmp_path: Path) -> None:
    """PyAV frees the name of the profile twice if it sees the side data."""
    plain = hostile_files.encode_black_png(64, 64, bits=8)
    content = b"iCCP" + b"a profile\0\0" + zlib.compress(b"profile" * 30)
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    end_of_header = 33
    png = plain[:end_of_header] + chunk + plain[end_of_header:]
    clip = hostile_files.write_png_movie(tmp_path / "a.mov", *[png] * 8, width=64, height=64)
    assert (await read_frame_count_and_flags(reader, clip))[0] == 8
