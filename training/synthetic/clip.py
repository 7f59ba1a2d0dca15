"""An actor who lives through a trajectory: the pictures and the voice of it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np

from service.domain.arrays import Bytes, Floats
from service.domain.time import SAMPLE_RATE_HZ
from training.synthetic.actor import Actor
from training.synthetic.container import write_clip
from training.synthetic.expression import Expression
from training.synthetic.face import draw_face
from training.synthetic.latent import Trajectory, wander
from training.synthetic.voice import speak

__all__ = ["perform", "render_demo_clip", "write_clip"]

_SYLLABLE_SECONDS: Final = 0.08


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
    actor = Actor.of_seed(seed)
    feeling = wander(seconds=seconds, rate_hz=float(rate), seed=seed)
    waveform = speak(
        feeling.valence,
        feeling.arousal,
        rate_hz=float(rate),
        pitch_hz=actor.pitch_hz,
        formant_scale=actor.formant_scale,
        seed=seed,
    )
    pictures = perform(actor, feeling, waveform, height=height, width=width)
    write_clip(path, pictures, rate=rate, waveform=waveform)


def perform(
    actor: Actor, feeling: Trajectory, waveform: Floats, *, height: int, width: int
) -> Iterator[Bytes]:
    """(H, W, 3) uint8 RGB for every moment of the trajectory; the lips follow the voice."""
    loudness = _loudness(waveform, feeling.times)
    moments = zip(feeling.times, feeling.valence, feeling.arousal, loudness, strict=True)
    for seconds, valence, arousal, speech in moments:
        expression = Expression.of_affect(
            float(valence), float(arousal), seconds=float(seconds), speech=float(speech)
        )
        yield draw_face(actor, expression, height=height, width=width)


def _loudness(waveform: Floats, times: Floats) -> Floats:
    """(N,) in [0, 1]: how loud a syllable is heard at each time."""
    reach = round(_SYLLABLE_SECONDS * SAMPLE_RATE_HZ / 2)
    power = np.concatenate([[0.0], np.cumsum(waveform.astype(np.float64) ** 2)])
    middle = np.round(times * SAMPLE_RATE_HZ).astype(np.int64)
    first = np.clip(middle - reach, 0, len(waveform))
    last = np.clip(middle + reach, 0, len(waveform))
    level = np.sqrt((power[last] - power[first]) / np.maximum(last - first, 1))
    return np.clip(3.2 * level**0.8, 0, 1).astype(np.float32)
