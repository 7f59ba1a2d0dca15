"""Clips of the benchmarks: a synthetic actor that speaks, drawn anew, the same every time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import numpy as np

from bench.long_clip import add_video_stream, encode_video, mux_packets
from bench.sensor_grain import add_sensor_grain
from training.synthetic.camera import Camera
from training.synthetic.clip import create_demo_performance, render_demo_clip, render_frames
from training.synthetic.renderer import PerformanceRenderer

RATE_HZ: Final = 25
HEIGHT, WIDTH = 720, 1280
LONG_SECONDS: Final = 20
SHORT_SECONDS: Final = 2
GRAIN_SECONDS: Final = 3
GRAIN_BITS_PER_SECOND: Final = 5_000_000
"""Bit rate of a phone or a good webcam. A clip without grain needs a tenth of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchClips:
    """Files of 1280x720 at 25 frames a second: 20 s and 2 s with audio, 3 s with sensor grain."""

    long: Path
    short: Path
    grain: Path


def render_bench_clips(folder: Path, *, reuse: bool = False) -> BenchClips:
    """Write the clips. reuse: not those that are there."""
    clips = BenchClips(
        long=folder / "bench.mp4",
        short=folder / "bench-short.mp4",
        grain=folder / "bench-grain.mp4",
    )
    if not (reuse and clips.long.exists()):
        render_demo_clip(clips.long, seconds=LONG_SECONDS, height=HEIGHT, width=WIDTH)
    if not (reuse and clips.short.exists()):
        render_demo_clip(clips.short, seconds=SHORT_SECONDS, height=HEIGHT, width=WIDTH)
    if not (reuse and clips.grain.exists()):
        render_grain_clip(clips.grain)
    return clips


def render_grain_clip(path: Path, *, height: int = HEIGHT, width: int = WIDTH) -> None:
    """Write a clip of a synthetic actor with sensor grain, in H.264 at a camera's bit rate."""
    frames = GRAIN_SECONDS * RATE_HZ
    performance = create_demo_performance(seconds=GRAIN_SECONDS)
    renderer = PerformanceRenderer(
        performance, Camera.from_seed(performance.seed), height=height, width=width
    )
    pictures = render_frames(performance, renderer, np.arange(frames) / RATE_HZ)
    with av.open(str(path), "w") as container:
        stream = add_video_stream(container, rate=RATE_HZ, options={"preset": "medium"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = GRAIN_BITS_PER_SECOND
        for grainy in add_sensor_grain(pictures):
            frame = av.VideoFrame.from_ndarray(grainy, format="rgb24")
            mux_packets(container, encode_video(stream, frame))
        mux_packets(container, encode_video(stream, None))
