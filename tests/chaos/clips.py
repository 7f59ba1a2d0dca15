"""Clips of the chaos runs, made by code: short ones with a known outcome, and long ones."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final, cast

import av
import numpy as np

from tests.media import hostile_files
from tests.media.clip_factory import VideoTrack, encode_clip
from training.synthetic.camera import Camera
from training.synthetic.clip import create_demo_performance, render_audio, render_frames, write_clip
from training.synthetic.renderer import PerformanceRenderer

_SIZE: Final = (240, 180)
_REMAINING_SHARE: Final = 0.6
"""Share of the bytes that a truncated file has; its index, which comes last, is missing."""
_RATE: Final = 25
_UHD_SIZE: Final = (3840, 2160)
_MAX_SIZE: Final = (8192, 4320)
_HIGH_QUALITY: Final = {"qmin": "8", "qmax": "8"}
_BLOCK_SIZE: Final = (32, 30)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosClip:
    """File to submit. query: options of the submission.

    error_code: expected error of its job; None: it has to succeed.
    """

    name: str
    data: bytes = field(repr=False)
    query: dict[str, str] = field(default_factory=dict[str, str])
    error_code: str | None = None


def make_clips() -> tuple[ChaosClip, ...]:
    """Make the short clips; their bytes are deterministic for given library versions."""
    with tempfile.TemporaryDirectory(prefix="circumplex-clips-") as name:
        folder = Path(name)
        talking = _render_clip(folder / "talking.mp4", seed=7, seconds=1.0, rate=10)
        other = _render_clip(folder / "other.mkv", seed=8, seconds=0.8, rate=15)
        silent = _render_clip(folder / "silent.mp4", seed=7, seconds=0.5, rate=12, has_audio=False)
        faceless = encode_clip(
            folder / "faceless.ts", VideoTrack(count=6), fflags="+bitexact"
        ).read_bytes()
    return (
        ChaosClip(name="talking.mp4", data=talking),
        ChaosClip(name="tracks.mp4", data=talking, query={"faces": "all"}),
        ChaosClip(name="other.mkv", data=other),
        ChaosClip(name="silent.mp4", data=silent),
        ChaosClip(name="faceless.ts", data=faceless),
        ChaosClip(
            name="broken.mp4",
            data=silent[: int(len(silent) * _REMAINING_SHARE)],
            error_code="clip_truncated",
        ),
    )


def _render_clip(
    path: Path, *, seed: int, seconds: float, rate: int, has_audio: bool = True
) -> bytes:
    performance = create_demo_performance(seed=seed, seconds=1.0)
    width, height = _SIZE
    renderer = PerformanceRenderer(performance, Camera.from_seed(seed), height=height, width=width)
    times = np.arange(round(seconds * rate)) / rate
    write_clip(
        path,
        render_frames(performance, renderer, times),
        rate=Fraction(rate),
        waveform=render_audio(performance) if has_audio else None,
    )
    return path.read_bytes()


def make_large(
    path: Path, *, frames: int, size: tuple[int, int] = _UHD_SIZE, distinct: int = 3
) -> Path:
    """Write an MJPEG clip of `size` (width, height) that repeats `distinct` frames."""
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=_RATE, options=_HIGH_QUALITY)  # pyright: ignore[reportUnknownMemberType]  # untyped options
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        images = (_draw_blocks(width, height, seed) for seed in range(distinct))
        packets = [bytes(cast("bytes", each)) for image in images for each in stream.encode(image)]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # generic Packet
        for index in range(frames):
            packet = av.Packet(packets[index % distinct])
            packet.stream, packet.time_base = stream, Fraction(1, _RATE)
            packet.pts = packet.dts = index
            packet.is_keyframe = True
            container.mux(packet)  # pyright: ignore[reportUnknownMemberType]  # generic Packet
    return path


def make_slow_to_open(path: Path, *, tags: int) -> Path:
    """Write a clip that takes CPU time quadratic in the number of tags to open."""
    return hostile_files.add_tags(encode_clip(path, VideoTrack(count=5)), tags)


def make_memory_hungry(path: Path) -> Path:
    """Write a clip of the maximum frame size, too large for the minimum memory limit."""
    return make_large(path, frames=6, size=_MAX_SIZE, distinct=1)


def _draw_blocks(width: int, height: int, seed: int) -> av.VideoFrame:
    """Draw blocks of random shades: slow to decode, small on disk."""
    sides = (height // _BLOCK_SIZE[1], width // _BLOCK_SIZE[0], 3)
    shades = np.random.default_rng(seed).integers(0, 255, sides, np.uint8)
    image = shades.repeat(_BLOCK_SIZE[1], 0).repeat(_BLOCK_SIZE[0], 1)
    return av.VideoFrame.from_ndarray(image, format="rgb24")
