"""Real clips of a performance: pictures and sound in a file, at any camera's times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np

from service.domain.arrays import Bytes, Floats
from training.synthetic.camera import Camera
from training.synthetic.container import write_clip
from training.synthetic.latent import Doubles
from training.synthetic.performance import Performance
from training.synthetic.studio import Studio
from training.synthetic.voice import Microphone, voice

__all__ = [
    "demo_performance",
    "film",
    "render_clip",
    "render_demo_clip",
    "sound_of",
    "write_clip",
    "write_truth",
]

DEMO_TAKE: Final = 26
"""One of actor 7's ten seconds that go to both sides of both axes."""


def render_demo_clip(
    path: Path,
    *,
    seed: int = 7,
    seconds: float = 10.0,
    rate: Fraction = Fraction(25),
    height: int = 360,
    width: int = 640,
) -> None:
    """Write a clip of one actor, speaking and feeling; the same seed writes the same clip."""
    performance = demo_performance(seed=seed, seconds=seconds)
    times = [index / rate for index in range(round(seconds * rate))]
    render_clip(path, performance, times, rate=rate, height=height, width=width)


def demo_performance(*, seed: int = 7, seconds: float = 10.0) -> Performance:
    """What is felt in the demo's clip; nothing hides the face."""
    return Performance.of_seed(seed, seconds=seconds, take=DEMO_TAKE, disturbed=False)


def render_clip(
    path: Path,
    performance: Performance,
    times: Sequence[Fraction],
    *,
    rate: Fraction,
    height: int = 360,
    width: int = 640,
) -> None:
    """Write pictures at the times, from the actor's own camera, with the sound."""
    studio = Studio(performance, Camera.of_seed(performance.seed), height=height, width=width)
    seconds = np.array([float(each) for each in times])
    write_clip(
        path,
        film(performance, studio, seconds),
        rate=rate,
        times=None if _is_steady(times, rate) else times,
        waveform=sound_of(performance),
    )


def film(performance: Performance, studio: Studio, times: Doubles) -> Iterator[Bytes]:
    """(H, W, 3) uint8 RGB at each of the times."""
    for seconds, expression in zip(times, performance.expressions.at(times), strict=True):
        yield studio.picture(expression, float(seconds))


def sound_of(performance: Performance) -> Floats:
    """(S,) the performance's sound, as its microphone hears it, as long as the performance."""
    waveform = voice(
        performance.speech,
        performance.actor.timbre,
        Microphone.of_seed(performance.seed),
        seed=performance.seed,
    )
    return waveform[: performance.samples]


def write_truth(path: Path, performance: Performance, times: Doubles) -> None:
    """Write what is felt as rows of time, valence, arousal."""
    rows = zip(times, performance.truth(times), strict=True)
    lines = [f"{seconds:.6f},{v:.6f},{a:.6f}" for seconds, (v, a) in rows]
    path.write_text("\n".join(["time,valence,arousal", *lines]) + "\n")


def _is_steady(times: Sequence[Fraction], rate: Fraction) -> bool:
    return all(each == index / rate for index, each in enumerate(times))
