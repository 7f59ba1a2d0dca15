"""What an actor feels: smooth, seeded paths across the circumplex."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.domain.arrays import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """Valence and arousal on a regular grid of times.

    times: (N,) seconds. valence, arousal: (N,) in [-1, 1].
    """

    times: Floats
    valence: Floats
    arousal: Floats


def wander(*, seconds: float, rate_hz: float, seed: int, reach: float = 0.9) -> Trajectory:
    """A path of slow waves that visits every quadrant rather than resting at the centre."""
    times = np.arange(round(seconds * rate_hz), dtype=np.float64) / rate_hz
    random = np.random.default_rng(seed)
    valence = _waves(times, seconds, random, phase=0.25)
    arousal = _waves(times, seconds, random, phase=0.0)
    return Trajectory(
        times=times.astype(np.float32),
        valence=(reach * np.tanh(1.4 * valence)).astype(np.float32),
        arousal=(reach * np.tanh(1.4 * arousal)).astype(np.float32),
    )


def _waves(
    times: np.ndarray, seconds: float, random: np.random.Generator, *, phase: float
) -> np.ndarray:
    """One round over the whole length, and three seeded waves of up to 0.45 Hz upon it."""
    total = np.sin(2 * np.pi * (times / max(seconds, 1e-6) + phase))
    for frequency_hz in random.uniform(0.08, 0.45, size=3):
        offset = random.uniform(0, 2 * np.pi)
        total = total + 0.3 * np.sin(2 * np.pi * frequency_hz * times + offset)
    return total
