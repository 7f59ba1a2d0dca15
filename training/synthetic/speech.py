"""Speech gestures of a babbling actor: phrases, syllables, pitch, loudness, breath.

Pitch, loudness and rate rise with arousal; pitch range and the share of harmonics over breath
with valence.
Source: the directions follow Scherer 2003, "Vocal communication of emotion"; the sizes are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from training.synthetic.trajectory import CONTROL_RATE_HZ, Doubles, Trajectory, smooth_track

VOWELS: Final = np.array(
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

_LOUDNESS: Final = 0.055
"""Linear amplitude at rest, before the microphone."""
_LOUDNESS_PER_AROUSAL: Final = 0.36
"""Powers of ten: 7 dB a unit."""
_OCTAVES_PER_AROUSAL: Final = 0.50
_ONSET_SHARE: Final = 0.12
"""Share of a syllable that is its breathy onset."""
_LONG_SILENCE_SHARE: Final = 0.3
"""Share of the silences that are long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechGestures:
    """Control tracks of the voice, (N,) each on the control grid, formants (N, 3).

    loudness: linear, 0 between syllables. breath: share of noise in [0, 1]. rate_hz: syllables per
    second. opening, spread: of the mouth. speaking: 1 within phrases.
    """

    pitch_hz: Doubles
    loudness: Doubles
    breath: Doubles
    rate_hz: Doubles
    formants_hz: Doubles
    opening: Doubles
    spread: Doubles
    speaking: Doubles


@dataclass(frozen=True, slots=True, kw_only=True)
class Timbre:
    """Parameters of a voice at rest; formant_scale: relative to an adult male vocal tract."""

    pitch_hz: float
    formant_scale: float
    breathiness: float = 0.0
    tilt: float = 0.9
    """Decay of the harmonics: amplitude is number ** -tilt."""


def generate_speech(
    trajectory: Trajectory, timbre: Timbre, talkativeness: float, random: np.random.Generator
) -> SpeechGestures:
    """Generate speech gestures that express a trajectory."""
    valence, arousal = (
        np.clip(trajectory.valence, -1.2, 1.2),
        np.clip(trajectory.arousal, -1.2, 1.2),
    )
    rate_hz = 4.1 + 1.5 * arousal
    phase = np.cumsum(rate_hz) / CONTROL_RATE_HZ
    syllable = phase.astype(np.int64)
    within = phase - syllable
    count = int(syllable[-1]) + 2
    speaking = _draw_phrases(len(phase), talkativeness, random)
    envelope = random.uniform(0.6, 1.0, size=count)[syllable] * np.sin(np.pi * within) ** 0.7
    envelope = envelope * smooth_track(speaking, 0.03)
    melody = smooth_track(random.normal(size=count)[syllable], 0.09)
    vowel = random.integers(len(VOWELS), size=count)[syllable]
    formants_hz = np.stack([smooth_track(VOWELS[vowel, k], 0.03) for k in range(3)], axis=1)
    octaves = _OCTAVES_PER_AROUSAL * arousal + (0.16 + 0.08 * valence) * melody
    breath = 0.36 + timbre.breathiness - 0.32 * valence + 0.4 * (within < _ONSET_SHARE)
    return SpeechGestures(
        pitch_hz=timbre.pitch_hz * 2**octaves,
        loudness=envelope * _LOUDNESS * 10 ** (_LOUDNESS_PER_AROUSAL * arousal),
        breath=np.clip(breath, 0.02, 1.0),
        rate_hz=rate_hz,
        formants_hz=formants_hz * timbre.formant_scale,
        opening=smooth_track(envelope, 0.03) * np.clip((formants_hz[:, 0] - 150) / 500, 0.15, 1),
        spread=np.clip((formants_hz[:, 1] - 1400) / 800, -1, 1),
        speaking=speaking,
    )


def _draw_phrases(steps: int, talkativeness: float, random: np.random.Generator) -> Doubles:
    """Draw a (steps,) track, 1 while speaking: phrases of 1.2 to 4 s between silences."""
    speaking = np.zeros(steps)
    now = random.uniform(0, 1.0)
    while now * CONTROL_RATE_HZ < steps:
        phrase = random.uniform(1.2, 4.0)
        first, last = (round(CONTROL_RATE_HZ * each) for each in (now, now + phrase))
        speaking[first:last] = 1.0
        silence = phrase * (1 / talkativeness - 1)
        long = random.random() < _LONG_SILENCE_SHARE
        now += phrase + (random.uniform(1.5, 2.4) if long else random.uniform(0.3, 0.8)) * silence
    return speaking
