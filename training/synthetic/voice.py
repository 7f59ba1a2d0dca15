"""Voice synthesis from speech gestures, with room noise.

Source: Fant's source-filter model: harmonics through three resonances, and breath noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from service.domain.array_types import Float32Array
from service.domain.audio_grid import SAMPLE_RATE_HZ
from training.synthetic.speech import SpeechGestures, Timbre
from training.synthetic.trajectory import CONTROL_RATE_HZ, Doubles

_MAX_HARMONIC_HZ: Final = 5_500.0
_BANDWIDTHS_HZ: Final = np.array([80.0, 110.0, 170.0])
_STEP_SAMPLES: Final = SAMPLE_RATE_HZ // CONTROL_RATE_HZ


@dataclass(frozen=True, slots=True, kw_only=True)
class Microphone:
    """Microphone and room; gain: linear; hiss, hum: linear levels of the room's noise.

    knocks_per_second: impulsive noises such as doors, cups, steps.
    """

    gain: float = 1.0
    hiss: float = 0.0005
    hum: float = 0.0
    knocks_per_second: float = 0.0

    @classmethod
    def from_seed(cls, seed: int) -> Self:
        """Draw a microphone and a room."""
        random = np.random.default_rng([seed, 6])
        return cls(
            gain=float(10 ** random.normal(0, 0.06)),
            hiss=float(10 ** random.uniform(-3.6, -2.1)),
            hum=float(random.choice((0.0, 10 ** random.uniform(-3.6, -2.4)))),
            knocks_per_second=float(random.uniform(0, 0.25)),
        )


def synthesise_voice(
    gestures: SpeechGestures, timbre: Timbre, microphone: Microphone, *, seed: int
) -> Float32Array:
    """Synthesise the audio of the gestures.

    Returns: (S,) float32 in [-1, 1], mono 16 kHz, one control step shorter than the gestures.
    """
    random = np.random.default_rng([seed, 7])
    loudness, breath = _upsample(gestures.loudness), _upsample(gestures.breath)
    voiced = _synthesise_harmonics(gestures, timbre)
    air = _draw_coloured_noise(len(loudness), random, middle_hz=3_200, width_hz=1_800)
    audio = loudness * ((1 - 0.6 * breath) * voiced + 0.35 * breath * air)
    return np.clip(
        microphone.gain * audio + _draw_room_noise(len(audio), microphone, random), -1, 1
    ).astype(np.float32)


def _synthesise_harmonics(gestures: SpeechGestures, timbre: Timbre) -> Doubles:
    """Sum the harmonics below 5.5 kHz, weighted by tilt and formants, to about unit power."""
    phase = 2 * np.pi * np.cumsum(_upsample(gestures.pitch_hz)) / SAMPLE_RATE_HZ
    twice_cosine = 2 * np.cos(phase)
    before, wave = np.zeros_like(phase), np.sin(phase)
    total = np.zeros_like(phase)
    power = np.zeros(len(gestures.pitch_hz))
    for number in range(1, int(_MAX_HARMONIC_HZ / gestures.pitch_hz.min()) + 1):
        gains = (
            _compute_formant_gain(number * gestures.pitch_hz, gestures.formants_hz)
            / number**timbre.tilt
        )
        power += np.square(gains)
        total += _upsample(gains) * wave
        # sin (n + 1)x = 2 cos x sin nx - sin (n - 1)x
        before, wave = wave, twice_cosine * wave - before
    return total / _upsample(np.sqrt(power / 2) + 1e-9)


def _compute_formant_gain(frequency_hz: Doubles, formants_hz: Doubles) -> Doubles:
    """Compute the formants' gain at one frequency per step, fading to 0 at 5.5 kHz."""
    offsets = (frequency_hz[:, None] - formants_hz) / _BANDWIDTHS_HZ
    peaks = (np.array([1.0, 0.7, 0.4]) / np.sqrt(1 + np.square(offsets))).sum(axis=1)
    return peaks * np.clip((_MAX_HARMONIC_HZ - frequency_hz) / 300, 0, 1)


def _draw_room_noise(samples: int, microphone: Microphone, random: np.random.Generator) -> Doubles:
    """Draw hiss, mains hum and knocks, (samples,)."""
    moments = np.arange(samples) / SAMPLE_RATE_HZ
    noise = microphone.hiss * _draw_coloured_noise(samples, random, middle_hz=0, width_hz=4_500)
    for number in (1, 2, 3, 5):
        noise += microphone.hum / number * np.sin(2 * np.pi * 50 * number * moments + number)
    for _ in range(random.poisson(microphone.knocks_per_second * samples / SAMPLE_RATE_HZ)):
        start, size = int(random.integers(samples)), random.uniform(0.01, 0.08)
        after = moments[: samples - start][: SAMPLE_RATE_HZ // 3]
        ring = np.sin(2 * np.pi * random.uniform(90, 400) * after) + 0.5 * random.normal(
            size=len(after)
        )
        noise[start : start + len(after)] += size * ring * np.exp(-after / 0.04)
    return noise


def _draw_coloured_noise(
    samples: int, random: np.random.Generator, *, middle_hz: float, width_hz: float
) -> Doubles:
    """Draw noise of unit power around a frequency, (samples,)."""
    spectrum = np.fft.rfft(random.normal(size=samples))
    frequency_hz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE_HZ)
    spectrum *= np.exp(-np.square((frequency_hz - middle_hz) / width_hz))
    noise = np.fft.irfft(spectrum, samples)
    return noise / (np.sqrt(np.mean(np.square(noise))) + 1e-9)


def _upsample(track: Doubles) -> Doubles:
    """Interpolate linearly from the control grid to audio samples."""
    ramp = np.arange(_STEP_SAMPLES) / _STEP_SAMPLES
    return (track[:-1, None] + np.diff(track)[:, None] * ramp).ravel()
