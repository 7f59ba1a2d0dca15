"""Damaged clips: the frames that FFmpeg can decode, flagged, or a typed error."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from service.domain.media import Flag
from service.errors import ClipError, ClipNotMedia, ClipTruncated, ClipWithoutFrames
from tests.media.in_process_reading import read_audio_and_anomalies, read_video
from tests.media_corpus.case import AUDIO_SOURCE, H264, MPEG2, VIDEO_SOURCE
from tests.media_corpus.ffmpeg_reference import list_frames, run_ffmpeg

MEDIA = f"{VIDEO_SOURCE} {AUDIO_SOURCE} {H264} -g 5"
FORMATS = {
    "mp4": ("a.mp4", f"{MEDIA} a.mp4"),
    "mp4, index first": ("a.mp4", f"{MEDIA} -movflags faststart a.mp4"),
    "mp4 in fragments": ("a.mp4", f"{MEDIA} -movflags frag_keyframe+empty_moov a.mp4"),
    "matroska": ("a.mkv", f"{MEDIA} a.mkv"),
    "webm": (
        "a.webm",
        f"{VIDEO_SOURCE} {AUDIO_SOURCE} -c:v libvpx -cpu-used 8 -g 5 -c:a libopus a.webm",
    ),
    "ts": ("a.ts", f"{MEDIA} -c:a aac a.ts"),
    "program stream": ("a.mpg", f"{VIDEO_SOURCE} {AUDIO_SOURCE} {MPEG2} -g 5 -c:a mp2 a.mpg"),
    "avi": ("a.avi", f"{VIDEO_SOURCE} {AUDIO_SOURCE} -c:v mpeg4 -g 5 -c:a libmp3lame a.avi"),
    "flash": ("a.flv", f"{MEDIA} -c:a aac a.flv"),
    "windows media": ("a.wmv", f"{VIDEO_SOURCE} {AUDIO_SOURCE} -c:v wmv2 -g 5 -c:a wmav2 a.wmv"),
    "ogg": ("a.ogv", f"{VIDEO_SOURCE} {AUDIO_SOURCE} -c:v libtheora -g 5 -c:a libvorbis a.ogv"),
}
SUFFIXES_WITHOUT_END_MARK = (".ts", ".mpg", ".flv")
"""Containers that do not declare their end."""
LOSS_FLAGS = {Flag.DAMAGED, Flag.TRUNCATED}


@pytest.fixture(scope="module", params=FORMATS.values(), ids=list(FORMATS))
def intact_clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name, command = request.param
    folder = tmp_path_factory.mktemp("intact")
    run_ffmpeg(command, folder=folder)
    return folder / name


def read_times_and_flags(clip: Path) -> tuple[list[float], set[Flag]]:
    """Read times and flags, with the audio up to the last frame."""
    reading = read_video(clip)
    _, flags, _ = read_audio_and_anomalies(clip, seconds=min(10.0, max(1.0, *reading.times)))
    return reading.times, reading.flags | flags


@pytest.mark.parametrize("tenth", range(1, 10))
def test_a_truncated_clip_gives_the_frames_before_the_cut(
    intact_clip: Path, tmp_path: Path, tenth: int
) -> None:
    clip = tmp_path / intact_clip.name
    content = intact_clip.read_bytes()
    clip.write_bytes(content[: len(content) * tenth // 10])
    listing = list_frames(clip)
    if not listing.ticks:
        with pytest.raises((ClipTruncated, ClipWithoutFrames)):
            read_times_and_flags(clip)
        return
    times, flags = read_times_and_flags(clip)
    assert times == listing.seconds()
    assert (Flag.TRUNCATED in flags) is (clip.suffix not in SUFFIXES_WITHOUT_END_MARK)


def test_intact_clip_is_not_flagged_truncated(intact_clip: Path) -> None:
    times, flags = read_times_and_flags(intact_clip)
    assert times == list_frames(intact_clip).seconds()
    assert not flags & LOSS_FLAGS


def corrupt(content: bytes, seed: int) -> bytes:
    """Damage by seed: flip bits, or zero, drop or repeat a range of bytes."""
    random = np.random.default_rng(seed)
    first, second = sorted(random.integers(0, len(content), 2).tolist())
    second = min(second, first + len(content) // 8)
    kind = seed % 4
    if kind == 0:
        flipped = bytearray(content)
        for place in random.integers(0, len(content), 1 + len(content) // 2000).tolist():
            flipped[place] ^= 1 << int(random.integers(8))
        return bytes(flipped)
    middle = {1: bytes(second - first), 2: b"", 3: content[first:second] * 2}[kind]
    return content[:first] + middle + content[second:]


def test_corrupted_clips_give_frames_or_a_typed_error(intact_clip: Path, tmp_path: Path) -> None:
    clip, content, outcomes = tmp_path / intact_clip.name, intact_clip.read_bytes(), set[str]()
    for seed in range(24):
        clip.write_bytes(corrupt(content, seed))
        try:
            times, _ = read_times_and_flags(clip)
        except ClipError as error:
            outcomes.add(error.code)
        else:
            outcomes.add("frames")
            assert all(math.isfinite(seconds) for seconds in times)
    assert "frames" in outcomes


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi", "a"])
@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"GIF89a" + b"x" * 500, b"#EXTM3U\nb.ts\n"])
def test_other_files_are_rejected(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ClipNotMedia):
        read_times_and_flags(tmp_path / name)


def test_a_stream_that_ends_before_its_declared_duration_is_truncated(tmp_path: Path) -> None:
    run_ffmpeg(f"{VIDEO_SOURCE} {H264} -g 1 -movflags faststart a.mp4", folder=tmp_path)
    content = (tmp_path / "a.mp4").read_bytes()
    body = content.index(b"mdat") - 4
    half = content[: body + (len(content) - body) // 2]
    shorter = (len(half) - body).to_bytes(4)
    (tmp_path / "a.mp4").write_bytes(half[:body] + shorter + half[body + 4 :])
    times, flags = read_times_and_flags(tmp_path / "a.mp4")
    assert 5 < len(times) < 20
    assert flags >= LOSS_FLAGS
