"""Frame rates of the cameras, and the times of their frames."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

import numpy as np

CONSTANT_RATES: Final = {
    "24": Fraction(24),
    "25": Fraction(25),
    "29.97": Fraction(30_000, 1_001),
    "30": Fraction(30),
    "60": Fraction(60),
}
VARIABLE_RATE: Final = "variable"
RATES: Final = (*CONSTANT_RATES, VARIABLE_RATE)

_TICKS_PER_SECOND: Final = 90_000
_MEAN_VARIABLE_HZ: Final = 30
_STALL_SHARE: Final = 0.02
"""Share of the frames of a variable rate that are followed by a stall."""


def get_declared_rate(name: str) -> Fraction:
    """Return the frame rate that a clip's header declares."""
    return CONSTANT_RATES.get(name, Fraction(_MEAN_VARIABLE_HZ))


def draw_frame_times(name: str, seconds: float, *, seed: int) -> Sequence[Fraction]:
    """Draw the times of a clip's frames, from 0.

    A variable rate varies between 15 and 60 per second, with occasional stalls of up to 0.25 s.
    """
    if name != VARIABLE_RATE:
        rate = CONSTANT_RATES[name]
        return [index / rate for index in range(round(seconds * rate))]
    random = np.random.default_rng([seed, 8])
    times, now = [Fraction(0)], 0
    while True:
        stalled = random.random() < _STALL_SHARE
        pause = random.uniform(0.1, 0.25) if stalled else 1 / random.uniform(15, 60)
        now += round(pause * _TICKS_PER_SECOND)
        if now >= seconds * _TICKS_PER_SECOND:
            return times
        times.append(Fraction(now, _TICKS_PER_SECOND))
