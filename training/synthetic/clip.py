"""Clips of a performance: frames and audio in a file, at any frame times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np

from service.domain.array_types import Float32Array, UInt8Array
from training.synthetic.camera import Camera
from training.synthetic.container import write_clip
from training.synthetic.performance import Performance
from training.synthetic.renderer import PerformanceRenderer
from training.synthetic.trajectory import Doubles
from training.synthetic.voice import Microphone, synthesise_voice

__all__ = [
    "create_demo_performance",
    "render_audio",
    "render_clip",
    "render_demo_clip",
    "render_frames",
    "write_clip",
    "write_truth",
]

DEMO_TAKE: Final = 26
"""A take of actor 7 whose ten seconds have both signs of valence and arousal."""


def render_demo_clip(
    path: Path,
    *,
    seed: int = 7,
    seconds: float = 10.0,
    rate: Fraction = Fraction(25),
    height: int = 360,
    width: int = 640,
) -> None:
    """Write a clip of one speaking actor; the same seed writes the same clip."""
    performance = create_demo_performance(seed=seed, seconds=seconds)
    times = [index / rate for index in range(round(seconds * rate))]
    render_clip(path, performance, times, rate=rate, height=height, width=width)


def create_demo_performance(*, seed: int = 7, seconds: float = 10.0) -> Performance:
    """Create the performance of the demo clip; the face is never occluded."""
    return Performance.from_seed(seed, seconds=seconds, take=DEMO_TAKE, with_occlusions=False)


def render_clip(
    path: Path,
    performance: Performance,
    times: Sequence[Fraction],
    *,
    rate: Fraction,
    height: int = 360,
    width: int = 640,
) -> None:
    """Write frames at the times, with the actor's camera, and the audio."""
    renderer = PerformanceRenderer(
        performance, Camera.from_seed(performance.seed), height=height, width=width
    )
    seconds = np.array([float(each) for each in times])
    write_clip(
        path,
        render_frames(performance, renderer, seconds),
        rate=rate,
        times=None if _is_constant_rate(times, rate) else times,
        waveform=render_audio(performance),
    )


def render_frames(
    performance: Performance, renderer: PerformanceRenderer, times: Doubles
) -> Iterator[UInt8Array]:
    """Render (H, W, 3) uint8 RGB at each of the times."""
    for seconds, expression in zip(times, performance.expressions.sample(times), strict=True):
        yield renderer.render_frame(expression, float(seconds))


def render_audio(performance: Performance) -> Float32Array:
    """Render the audio as its microphone records it, (S,) at 16 kHz."""
    waveform = synthesise_voice(
        performance.speech,
        performance.actor.timbre,
        Microphone.from_seed(performance.seed),
        seed=performance.seed,
    )
    return waveform[: performance.sample_count]


def write_truth(path: Path, performance: Performance, times: Doubles) -> None:
    """Write the true valence and arousal as rows of time, valence, arousal."""
    rows = zip(times, performance.truth_at(times), strict=True)
    lines = [f"{seconds:.6f},{v:.6f},{a:.6f}" for seconds, (v, a) in rows]
    path.write_text("\n".join(["time,valence,arousal", *lines]) + "\n")


def _is_constant_rate(times: Sequence[Fraction], rate: Fraction) -> bool:
    return all(each == index / rate for index, each in enumerate(times))
