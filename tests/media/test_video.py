"""Decoding of pictures: times, rotation, aspect, and limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from service.domain.array_types import UInt8Array
from service.domain.media import Flag
from service.errors import ClipTooLong, ClipTooManyPixels, ClipWithoutFrames
from service.media.media_info import ClipLimits
from tests.media.clip_factory import AudioTrack, VideoTrack, encode_clip
from tests.media.encoding import add_video, encode_video, repeat_picture
from tests.media.in_process_reading import decode_times_with_pyav, read_all, read_frames

UNEVEN_TIMES = [Fraction(k * k, 700) + Fraction(k, 40) for k in range(80)]
VP9 = {"deadline": "realtime", "cpu-used": "8"}
TRACK_CASES = {
    "constant rate": ("clip.mp4", VideoTrack()),
    "b-frames": ("clip.mp4", VideoTrack(options={"bf": "3", "preset": "medium"})),
    "variable rate": ("clip.mp4", VideoTrack(times=UNEVEN_TIMES)),
    "variable rate, matroska": ("clip.mkv", VideoTrack(times=UNEVEN_TIMES)),
    "starts at ten seconds": ("clip.mkv", VideoTrack(start_seconds=Fraction(10))),
    "transport stream": ("clip.ts", VideoTrack()),
    "webm": ("clip.webm", VideoTrack(codec="libvpx-vp9", options=VP9)),
    "ntsc rate": ("clip.mov", VideoTrack(rate=Fraction(30000, 1001))),
    "flash": ("clip.flv", VideoTrack()),
    "turned": ("clip.mp4", VideoTrack(rotation=90)),
    "wide pixels": ("clip.mp4", VideoTrack(aspect=Fraction(2))),
    "one frame": ("clip.mp4", VideoTrack(count=1)),
}


@pytest.mark.parametrize(("name", "track"), TRACK_CASES.values(), ids=TRACK_CASES.keys())
def test_frames_and_times_equal_those_of_a_plain_decode_loop(
    tmp_path: Path, name: str, track: VideoTrack
) -> None:
    clip = encode_clip(
        tmp_path / name, track, AudioTrack(codec="libopus" if "webm" in name else "aac")
    )
    times, pixels, flags, _ = read_all(clip)
    assert times == decode_times_with_pyav(clip)
    assert len(times) == len(track.frame_times()) == len(pixels)
    assert flags == set()


def test_uneven_frame_times_are_preserved(tmp_path: Path) -> None:
    clip = encode_clip(tmp_path / "clip.mp4", VideoTrack(times=UNEVEN_TIMES))
    times, _ = read_frames(clip)
    assert times == pytest.approx([float(moment) for moment in UNEVEN_TIMES], abs=1e-5)


def test_start_time_is_not_subtracted(tmp_path: Path) -> None:
    clip = encode_clip(tmp_path / "clip.mkv", VideoTrack(start_seconds=Fraction(10)))
    assert read_frames(clip)[0][0] == 10.0


def test_truncated_mp4_gives_its_frames_and_a_flag(tmp_path: Path) -> None:
    whole = encode_clip(tmp_path / "clip.mp4", VideoTrack(), movflags="faststart")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    times, _, flags, _ = read_all(cut)
    assert 20 < len(times) < 80
    assert times == decode_times_with_pyav(cut)
    assert Flag.TRUNCATED in flags


def test_truncated_matroska_is_flagged(tmp_path: Path) -> None:
    whole = encode_clip(tmp_path / "clip.mkv", VideoTrack(), AudioTrack())
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    times, _, flags, _ = read_all(cut)
    assert times == decode_times_with_pyav(cut)
    assert flags == {Flag.TRUNCATED}


@pytest.mark.parametrize("name", ["clip.ts", "clip.mkv"])
def test_bit_errors_are_flagged_as_damage(tmp_path: Path, name: str) -> None:
    clip = encode_clip(tmp_path / name, VideoTrack(options={"g": "12"}))
    content = bytearray(clip.read_bytes())
    random = np.random.default_rng(1)
    for place in random.integers(len(content) // 8, len(content) * 7 // 8, 40):
        content[place] ^= 1 << int(random.integers(8))
    clip.write_bytes(content)
    times, pixels, flags, _ = read_all(clip)
    assert len(times) == len(pixels) == len(decode_times_with_pyav(clip)) > 0
    assert all(math.isfinite(seconds) for seconds in times)
    assert Flag.DAMAGED in flags


def quadrants(width: int, height: int) -> UInt8Array:
    """Red at the top left, green at the top right, blue at the bottom left."""
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    picture[: height // 2, : width // 2, 0] = 255
    picture[: height // 2, width // 2 :, 1] = 255
    picture[height // 2 :, : width // 2, 2] = 255
    return picture


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
def test_declared_rotation_is_applied(tmp_path: Path, degrees: int) -> None:
    coded = quadrants(96, 64)
    track = VideoTrack(count=2, picture=coded, rotation=degrees)
    _, pixels, _, facts = read_all(encode_clip(tmp_path / "clip.mp4", track))
    # a display matrix turns the coded picture counter-clockwise by its angle
    upright = np.rot90(coded, degrees // 90 % 4)
    assert pixels[0].shape == upright.shape
    assert (facts.width, facts.height) == (upright.shape[1], upright.shape[0])
    assert facts.rotation_degrees == degrees % 360
    for row in (0.25, 0.75):
        for column in (0.25, 0.75):
            place = int(row * upright.shape[0]), int(column * upright.shape[1])
            # 4:2:0 and the codec cost a few levels of a saturated colour
            assert pixels[0][place].astype(int) == pytest.approx(upright[place].astype(int), abs=24)


def write_with_display_matrix(path: Path, coded: UInt8Array, matrix: list[float]) -> Path:
    """Write two lossless frames with (a, b, c, d) as their display matrix."""
    a, b, c, d = (round(65536 * value) for value in matrix)
    with av.open(str(path), "w") as container:
        height, width = coded.shape[:2]
        video = add_video(container, "png", size=(width, height), pixel_format="rgb24")
        video.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        encode_video(container, video, repeat_picture(coded, 2))
    return path


DISPLAY_MATRICES: dict[str, tuple[list[float], Callable[[UInt8Array], UInt8Array]]] = {
    "as it is": ([1, 0, 0, 1], lambda p: p),
    "half as large": ([0.5, 0, 0, 0.5], lambda p: p),
    "mirrored": ([-1, 0, 0, 1], np.fliplr),
    "flipped": ([1, 0, 0, -1], np.flipud),
    "turned right": ([0, 1, -1, 0], lambda p: np.rot90(p, -1)),
    "along the diagonal": ([0, 1, 1, 0], lambda p: p.transpose(1, 0, 2)),
    "along the other diagonal": ([0, -1, -1, 0], lambda p: p.transpose(1, 0, 2)[::-1, ::-1]),
    "no matrix at all": ([0, 0, 0, 0], lambda p: p),
}


@pytest.mark.parametrize(
    ("matrix", "expected"), DISPLAY_MATRICES.values(), ids=DISPLAY_MATRICES.keys()
)
def test_every_display_matrix_is_applied_exactly(
    tmp_path: Path, matrix: list[float], expected: Callable[[UInt8Array], UInt8Array]
) -> None:
    coded = quadrants(96, 64)
    pixels = read_frames(write_with_display_matrix(tmp_path / "clip.mov", coded, matrix))[1]
    assert np.array_equal(pixels[0], expected(coded))


def test_an_oblique_rotation_is_padded_with_black_to_its_bounding_box(tmp_path: Path) -> None:
    coded = np.full((64, 96, 3), 255, np.uint8)
    coded[:, :48] = (255, 0, 0)
    sine, cosine = math.sin(math.radians(30)), math.cos(math.radians(30))
    clip = write_with_display_matrix(tmp_path / "clip.mov", coded, [cosine, -sine, sine, cosine])
    _, pixels, _, facts = read_all(clip)
    # counter-clockwise: the red left half ends up at the bottom left
    assert pixels[0].shape == (104, 116, 3)
    assert (facts.width, facts.height, facts.rotation_degrees) == (116, 104, 30)
    assert not pixels[0][0, 0].any()
    assert not pixels[0][-1, -1].any()
    assert pixels[0][62, 36].tolist() == [255, 0, 0]
    assert pixels[0][42, 80].tolist() == [255, 255, 255]


def test_non_square_pixels_are_scaled_to_square_ones(tmp_path: Path) -> None:
    track = VideoTrack(count=2, picture=quadrants(96, 64), aspect=Fraction(2))
    _, pixels, _, facts = read_all(encode_clip(tmp_path / "clip.mp4", track))
    assert pixels[0].shape == (64, 192, 3)
    assert (facts.width, facts.height) == (192, 64)
    assert pixels[0][16, 48].argmax() == 0
    assert pixels[0][16, 144].argmax() == 1


def limits(
    *, max_seconds: float = 60, max_frames: int = 1000, max_pixels: int = 10**6
) -> ClipLimits:
    return ClipLimits(max_seconds=max_seconds, max_frames=max_frames, max_pixels=max_pixels)


def test_more_frames_than_allowed_are_refused(tmp_path: Path) -> None:
    clip = encode_clip(tmp_path / "clip.ts", VideoTrack())
    assert len(read_frames(clip, limits(max_frames=100))[0]) == 100
    with pytest.raises(ClipTooLong):
        read_frames(clip, limits(max_frames=99))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.ts"])
def test_more_seconds_than_allowed_are_refused(tmp_path: Path, name: str) -> None:
    clip = encode_clip(tmp_path / name, VideoTrack())
    with pytest.raises(ClipTooLong):
        read_frames(clip, limits(max_seconds=3.0))


def test_seconds_are_counted_where_the_container_declares_none(tmp_path: Path) -> None:
    clip = encode_clip(tmp_path / "clip.mkv", VideoTrack(), live="1")
    with pytest.raises(ClipTooLong):
        read_frames(clip, limits(max_seconds=3.0))


@pytest.mark.parametrize("aspect", [None, Fraction(2)])
def test_more_pixels_than_allowed_are_refused(tmp_path: Path, aspect: Fraction | None) -> None:
    clip = encode_clip(tmp_path / "clip.mp4", VideoTrack(aspect=aspect))
    displayed_pixels = 96 * 64 * (aspect or 1)
    assert len(read_frames(clip, limits(max_pixels=int(displayed_pixels)))[0]) == 100
    with pytest.raises(ClipTooManyPixels):
        read_frames(clip, limits(max_pixels=int(displayed_pixels) - 1))


def test_a_stream_without_a_decodable_frame_is_refused(tmp_path: Path) -> None:
    clip = encode_clip(tmp_path / "clip.mp4", VideoTrack(count=3), movflags="faststart")
    content = clip.read_bytes()
    body = content.index(b"mdat") + 4
    clip.write_bytes(content[:body] + bytes(len(content) - body))
    with pytest.raises(ClipWithoutFrames):
        read_frames(clip)
