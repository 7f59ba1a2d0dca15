"""A voice that carries a feeling: harmonics through formants, with breath, in syllables.

Pitch, loudness and speaking rate rise with arousal; pitch range and the share of
harmonics over breath rise with valence.
Source: Fant's source-filter model; the directions follow Scherer 2003, "Vocal communication of
emotion"; their sizes are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from service.domain.arrays import Floats
from service.domain.time import SAMPLE_RATE_HZ

Doubles = npt.NDArray[np.float64]

CONTROL_RATE_HZ: Final = 200
_HIGHEST_HZ: Final = 5_500.0
_VOWELS: Final = np.array(
    [
        [730, 1090, 2440],
        [530, 1840, 2480],
        [300, 2250, 2950],
        [570, 840, 2410],
        [330, 900, 2240],
        [500, 1500, 2500],
    ],
    dtype=np.float64,
)
"""Formants of a male speaker in Hz: Peterson & Barney 1952."""
_BANDWIDTHS_HZ: Final = np.array([80.0, 110.0, 170.0])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gestures:
    """What larynx and mouth do, at the control rate: pitch, loudness, breath, formants."""

    pitch_hz: Doubles
    loudness: Doubles
    breath: Doubles
    formants_hz: Doubles


def speak(
    valence: Floats,
    arousal: Floats,
    *,
    rate_hz: float,
    pitch_hz: float = 120.0,
    formant_scale: float = 1.0,
    seed: int = 0,
) -> Floats:
    """Babble with the feeling of the moment.

    Args: valence, arousal: (N,) in [-1, 1], `rate_hz` values a second; pitch_hz: at rest.
    Returns: (S,) float32 in [-1, 1], mono 16 kHz, N / rate_hz seconds long.
    """
    seconds = len(valence) / rate_hz
    samples = round(seconds * SAMPLE_RATE_HZ)
    steps = np.arange(int(seconds * CONTROL_RATE_HZ) + 2) / CONTROL_RATE_HZ
    known = np.arange(len(valence)) / rate_hz
    random = np.random.default_rng(seed)
    gestures = _gestures(
        np.interp(steps, known, valence),
        np.interp(steps, known, arousal),
        pitch_hz,
        formant_scale,
        random,
    )
    moments = np.arange(samples) / SAMPLE_RATE_HZ
    loudness = np.interp(moments, steps, gestures.loudness)
    breath = np.interp(moments, steps, gestures.breath)
    voiced = _harmonics(moments, steps, gestures)
    noise = _breath_noise(samples, random)
    sound = loudness * ((1 - 0.6 * breath) * voiced + 0.35 * breath * noise)
    return np.clip(sound + 0.0008 * noise, -1, 1).astype(np.float32)


def _gestures(
    valence: Doubles,
    arousal: Doubles,
    pitch_hz: float,
    formant_scale: float,
    random: np.random.Generator,
) -> _Gestures:
    """Syllables of 2.5 to 6 a second, a phrase's pause after seven to ten of them."""
    beat = np.cumsum(2.5 + 1.75 * (arousal + 1)) / CONTROL_RATE_HZ
    syllable = beat.astype(np.int64)
    within = beat - syllable
    count = int(syllable[-1]) + 2
    spoken = np.ones(count)
    spoken[np.cumsum(random.integers(7, 11, size=count))[:count].clip(max=count - 1)] = 0.0
    stress = random.uniform(0.6, 1.0, size=count) * spoken
    envelope = stress[syllable] * np.sin(np.pi * within) ** 0.7
    accent = random.normal(0, 1, size=count)
    melody = _smooth(accent[syllable], 0.09)
    vowels = _VOWELS[random.integers(len(_VOWELS), size=count)] * formant_scale
    spread = 0.08 + 0.07 * (valence + 1)
    return _Gestures(
        pitch_hz=pitch_hz * 2 ** (0.55 * arousal + 0.10 * valence + spread * melody),
        loudness=envelope * 0.11 * 10 ** (0.42 * arousal),
        breath=np.clip(0.42 - 0.30 * valence + 0.5 * (within < 0.12), 0.03, 1.0),
        formants_hz=np.stack([_smooth(vowels[syllable, k], 0.03) for k in range(3)], axis=1),
    )


def _harmonics(moments: Doubles, steps: Doubles, gestures: _Gestures) -> Doubles:
    """Every harmonic below 5.5 kHz, as loud as glottis and formants make it; about unit power."""
    pitch_hz = np.interp(moments, steps, gestures.pitch_hz)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE_HZ
    total = np.zeros(len(moments))
    power = np.zeros(len(steps))
    for number in range(1, int(_HIGHEST_HZ / gestures.pitch_hz.min()) + 1):
        gains = _gain(number * gestures.pitch_hz, gestures.formants_hz) / number**0.9
        power += gains**2
        total += np.interp(moments, steps, gains) * np.sin(number * phase)
    return total / np.interp(moments, steps, np.sqrt(power / 2) + 1e-9)


def _gain(frequency_hz: Doubles, formants_hz: Doubles) -> Doubles:
    """The resonances' gain at one frequency a step, 0 above the highest frequency."""
    offsets = (frequency_hz[:, None] - formants_hz) / _BANDWIDTHS_HZ
    peaks = (np.array([1.0, 0.7, 0.4]) / np.sqrt(1 + offsets**2)).sum(axis=1)
    return peaks * (frequency_hz < _HIGHEST_HZ)


def _breath_noise(samples: int, random: np.random.Generator) -> Doubles:
    """Noise of unit power between 1 and 6.5 kHz."""
    spectrum = np.fft.rfft(random.normal(size=samples))
    frequency_hz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE_HZ)
    spectrum *= np.exp(-(((frequency_hz - 3_200) / 1_800) ** 2))
    noise = np.fft.irfft(spectrum, samples)
    noise /= np.sqrt(np.mean(np.square(noise))) + 1e-9
    return noise


def _smooth(values: Doubles, sigma_seconds: float) -> Doubles:
    reach = int(4 * sigma_seconds * CONTROL_RATE_HZ)
    offsets = np.arange(-reach, reach + 1) / CONTROL_RATE_HZ
    kernel = np.exp(-((offsets / sigma_seconds) ** 2) / 2)
    padded = np.pad(values, reach, mode="edge")
    smoothed = np.convolve(padded, kernel / kernel.sum(), mode="valid")
    return np.asarray(smoothed, dtype=np.float64)
