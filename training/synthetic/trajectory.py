"""Trajectory of an actor's feeling: a seeded path of valence and arousal over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

CONTROL_RATE_HZ: Final = 100
"""Rate of the control grid of feelings, faces and voices, independent of the frame rate."""
MAX_AMPLITUDE: Final = 0.95
"""Bound of valence and arousal."""

_MEAN_SPREAD: Final = 0.20
"""Standard deviation of a clip's mean feeling."""
_WAVE_SCALES: Final = ((2.6, 0.50), (1.0, 0.20))
"""Seconds of a wave's sigma, and its standard deviation."""
_EVENTS_PER_SECOND: Final = 0.11
_PAUSES_PER_SECOND: Final = 0.08


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """Valence and arousal, (N,) in (-1, 1), on the control grid from time 0."""

    valence: Doubles
    arousal: Doubles

    @property
    def times(self) -> Doubles:
        """(N,) seconds."""
        return np.arange(len(self.valence)) / CONTROL_RATE_HZ


def generate_trajectory(*, seconds: float, seed: int) -> Trajectory:
    """Generate a trajectory of slow waves, pauses and sudden events."""
    random = np.random.default_rng([seed, 1])
    clock = _draw_paused_clock(int(seconds * CONTROL_RATE_HZ) + 2, random)
    valence, arousal = _draw_waves(clock, random), _draw_waves(clock, random)
    for start in _draw_event_times(seconds, random):
        angle, force = random.uniform(0, 2 * np.pi), random.uniform(0.5, 1.0)
        shape = force * _compute_event_envelope(len(clock), start, random.uniform(0.6, 2.2))
        valence += np.cos(angle) * shape
        arousal += np.sin(angle) * shape
    return Trajectory(
        valence=MAX_AMPLITUDE * np.tanh(valence), arousal=MAX_AMPLITUDE * np.tanh(arousal)
    )


def interpolate_track(track: Doubles, times: Doubles) -> Doubles:
    """Interpolate a track of the control grid at the times, (N,)."""
    return np.interp(times, np.arange(len(track)) / CONTROL_RATE_HZ, track)


def draw_smooth_noise(steps: int, sigma_seconds: float, random: np.random.Generator) -> Doubles:
    """Draw (steps,) Gaussian noise of unit variance, correlated over about `sigma_seconds`."""
    reach = int(4 * sigma_seconds * CONTROL_RATE_HZ)
    offsets = np.arange(-reach, reach + 1) / (sigma_seconds * CONTROL_RATE_HZ)
    kernel = np.exp(-np.square(offsets) / 2)
    kernel /= np.sqrt(np.square(kernel).sum())
    return _convolve_valid(random.normal(size=steps + 2 * reach), kernel)


def smooth_track(track: Doubles, sigma_seconds: float) -> Doubles:
    """Smooth a track with a Gaussian; the ends are extended by their values."""
    reach = int(4 * sigma_seconds * CONTROL_RATE_HZ)
    offsets = np.arange(-reach, reach + 1) / (sigma_seconds * CONTROL_RATE_HZ)
    kernel = np.exp(-np.square(offsets) / 2)
    return _convolve_valid(np.pad(track, reach, mode="edge"), kernel / kernel.sum())


def delay_track(track: Doubles, seconds: float) -> Doubles:
    """Delay a track; it starts with its first value."""
    shift = round(seconds * CONTROL_RATE_HZ)
    return np.concatenate([np.full(shift, track[0]), track])[: len(track)]


def _convolve_valid(padded: Doubles, kernel: Doubles) -> Doubles:
    """Compute the "valid" convolution by Fourier transform."""
    size = len(padded) + len(kernel) - 1
    product = np.fft.rfft(padded, size) * np.fft.rfft(kernel, size)
    return np.fft.irfft(product, size)[len(kernel) - 1 : len(padded)]


def _draw_paused_clock(steps: int, random: np.random.Generator) -> Doubles:
    """Draw a (steps,) clock in seconds that pauses at random times."""
    speed = np.ones(steps)
    for start in np.flatnonzero(random.random(steps) < _PAUSES_PER_SECOND / CONTROL_RATE_HZ):
        speed[start : start + int(random.uniform(0.8, 2.5) * CONTROL_RATE_HZ)] = 0.0
    return np.cumsum(smooth_track(speed, 0.15)) / CONTROL_RATE_HZ


def _draw_waves(clock: Doubles, random: np.random.Generator) -> Doubles:
    total = np.full(len(clock), random.normal(0, _MEAN_SPREAD))
    for sigma_seconds, spread in _WAVE_SCALES:
        total += spread * interpolate_track(
            draw_smooth_noise(len(clock) + 1, sigma_seconds, random), clock
        )
    return total


def _draw_event_times(seconds: float, random: np.random.Generator) -> Doubles:
    count = random.poisson(_EVENTS_PER_SECOND * seconds)
    return np.sort(random.uniform(0, seconds, size=count))


def _compute_event_envelope(steps: int, start: float, hold_seconds: float) -> Doubles:
    """Compute an envelope that rises within 0.3 s, holds, and falls within about a second."""
    elapsed = np.arange(steps) / CONTROL_RATE_HZ - start
    rise = 1 / (1 + np.exp(-np.clip(elapsed / 0.06, -60, 60)))
    fall = 1 / (1 + np.exp(-np.clip((elapsed - hold_seconds) / 0.25, -60, 60)))
    return rise * (1 - fall)
