"""Regressions found by fuzzing, each with the smallest file that shows it."""

from __future__ import annotations

import re
import struct
import time
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from service.errors import ClipTruncated
from service.faces.tiles import make_tiles
from service.media.demux import open_container
from tests.fuzz.ebml_elements import parse as parse_elements
from tests.fuzz.ebml_elements import write as write_element
from tests.fuzz.iso_boxes import parse as parse_boxes
from tests.fuzz.iso_boxes import write as write_box
from tests.fuzz.riff_chunks import parse, write
from tests.media import clip_factory
from tests.media.clip_factory import AudioTrack, VideoTrack
from tests.media.in_process_reading import read_all, read_audio

TAG_STRING = b"\x44\x87"


def test_box_with_an_impossible_size_is_a_truncated_clip(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    box = struct.pack(">I4sQ", 1, b"mdat", 2**64 - 9)
    clip.write_bytes(struct.pack(">I4s8x", 16, b"ftyp") + box + bytes(64))
    with pytest.raises(ClipTruncated), open_container(clip):
        pass


@pytest.mark.parametrize("rate_hz", [3, 33_602_432, 117_440_512])
def test_impossible_sample_rate_costs_no_memory(tmp_path: Path, rate_hz: int) -> None:
    clip = clip_factory.encode_clip(
        tmp_path / "clip.avi",
        VideoTrack(count=5, codec="mpeg4", time_base=Fraction(1, 25), options={}),
        AudioTrack(codec="pcm_s16le", seconds=0.5, clap_seconds=()),
    )
    chunks = parse(clip.read_bytes())
    formats = [chunk for root in chunks for chunk in root.walk() if chunk.kind == b"strf"]
    formats[-1].body = formats[-1].body[:4] + struct.pack("<I", rate_hz) + formats[-1].body[8:]
    clip.write_bytes(b"".join(map(write, chunks)))
    began = time.process_time()
    waveform, flags = read_audio(clip, seconds=0.5)
    assert time.process_time() - began < 2  # it took 4 and 17 seconds
    assert not waveform.any()
    assert "audio_unreadable" in flags


@pytest.mark.parametrize("size", [(4160, 48), (8192, 2), (2, 4096)])
def test_frame_of_a_few_rows_needs_few_detector_runs(size: tuple[int, int]) -> None:
    """Such frames used to be split into up to 1,600 tiles, which took seconds a frame."""
    width, height = size
    tiles = make_tiles(height, width, 20.0)
    assert len(tiles) <= 64
    for axis, length in ((0, width), (1, height)):
        spans = sorted((tile[axis], tile[axis] + tile[2]) for tile in tiles)
        assert spans[0][0] == 0
        assert spans[-1][1] >= length
        assert all(later[0] <= earlier[1] for earlier, later in pairwise(spans))


@pytest.mark.parametrize("tag", ["nan:nan:nan", "00:00:-inf", "-9:00:00"])
def test_invalid_duration_is_not_reported(tmp_path: Path, tag: str) -> None:
    clip = clip_factory.encode_clip(tmp_path / "clip.mkv", VideoTrack(count=5))
    elements = parse_elements(clip.read_bytes())
    named = [node for root in elements for node in root.walk() if node.kind == TAG_STRING]
    durations = [node for node in named if re.match(rb"\d\d:\d\d:\d\d", node.body)]
    assert durations
    for node in durations:
        node.body = tag.encode()
    clip.write_bytes(b"".join(map(write_element, elements)))
    *_, info = read_all(clip)
    assert info.duration_seconds == info.container_seconds
    assert info.frames_estimate == 5


def test_stream_of_negative_duration_is_read(tmp_path: Path) -> None:
    clip = clip_factory.encode_clip(tmp_path / "clip.mp4", VideoTrack(count=5))
    boxes = parse_boxes(clip.read_bytes())
    (header,) = (node for root in boxes for node in root.walk() if node.kind == b"mdhd")
    header.body = b"\x01" + header.body[1:4] + bytes(16) + header.body[12:16]
    header.body += struct.pack(">q", -5) + bytes(4)
    clip.write_bytes(b"".join(map(write_box, boxes)))
    *_, info = read_all(clip)
    assert info.duration_seconds is None or info.duration_seconds >= 0
    assert info.frames_estimate == 5


def test_undecodable_audio_is_silence_and_flagged(tmp_path: Path) -> None:
    clip = clip_factory.encode_clip(
        tmp_path / "clip.mkv", VideoTrack(count=5), AudioTrack(codec="flac")
    )
    elements = parse_elements(clip.read_bytes())
    (codec,) = (n for root in elements for n in root.walk() if n.body == b"A_FLAC")
    codec.body = b"A_NONE"
    clip.write_bytes(b"".join(map(write_element, elements)))
    waveform, flags = read_audio(clip, seconds=0.5)
    assert not waveform.any()
    assert "audio_unreadable" in flags
