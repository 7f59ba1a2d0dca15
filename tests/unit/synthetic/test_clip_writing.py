"""Written clips, as a decoder reads them: frame times, audio, codecs."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from service.domain.array_types import Float32Array, UInt8Array
from service.domain.audio_grid import SAMPLE_RATE_HZ
from training.synthetic.clip import render_demo_clip, write_clip


def make_grey_images(count: int) -> list[UInt8Array]:
    return [np.full((48, 64, 3), 5 * k % 256, np.uint8) for k in range(count)]


def tone(seconds: float) -> Float32Array:
    moments = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (0.3 * np.sin(2 * np.pi * 440 * moments)).astype(np.float32)


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("suffix", "video_codec", "audio_codec"),
    [
        ("mp4", "libx264", "aac"),
        ("mkv", "libx264", "aac"),
        ("mov", "libx264", "aac"),
        ("webm", "libvpx-vp9", "libopus"),
    ],
)
def test_all_frames_and_audio_are_decoded(
    tmp_path: Path, suffix: str, video_codec: str, audio_codec: str
) -> None:
    path = tmp_path / f"clip.{suffix}"
    write_clip(
        path,
        make_grey_images(50),
        waveform=tone(2.0),
        video_codec=video_codec,
        audio_codec=audio_codec,
    )
    assert times_of(path) == pytest.approx([k / 25 for k in range(50)], abs=1e-3)
    with av.open(str(path)) as container:
        blocks = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    audio = np.concatenate(blocks)
    # an AAC frame of 1024 samples, and its priming, may exceed the end
    assert len(audio) / 48_000 == pytest.approx(2.0, abs=0.05)
    assert np.abs(audio[24_000:48_000]).max() == pytest.approx(0.3, abs=0.05)


def test_frames_have_the_given_times(tmp_path: Path) -> None:
    times = [Fraction(k * k, 200) for k in range(20)]
    write_clip(tmp_path / "clip.mp4", make_grey_images(20), times=times)
    assert times_of(tmp_path / "clip.mp4") == pytest.approx([float(t) for t in times], abs=1e-4)


def test_broadcast_rate_does_not_drift(tmp_path: Path) -> None:
    rate = Fraction(30_000, 1_001)
    write_clip(tmp_path / "clip.mp4", make_grey_images(40), rate=rate)
    expected = [float(k / rate) for k in range(40)]
    assert times_of(tmp_path / "clip.mp4") == pytest.approx(expected, abs=1e-6)


def test_clip_without_waveform_has_no_audio_stream(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", make_grey_images(5))
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_demo_clip_is_the_same_for_a_seed_and_has_every_frame(tmp_path: Path) -> None:
    first, second = tmp_path / "first.mp4", tmp_path / "second.mp4"
    for path in (first, second):
        render_demo_clip(path, seed=7, seconds=1.0, height=96, width=128)
    assert first.read_bytes() == second.read_bytes()
    assert len(times_of(first)) == 25
    with av.open(str(first)) as container:
        codecs = [stream.codec_context.name for stream in container.streams]
    assert codecs == ["h264", "aac"]
