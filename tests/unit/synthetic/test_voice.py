"""The voice follows the feeling, measured on the sound itself."""

from __future__ import annotations

import numpy as np
import pytest

from service.domain.arrays import Floats
from service.domain.time import SAMPLE_RATE_HZ
from training.synthetic.latent import wander
from training.synthetic.voice import speak

SECONDS, RATE_HZ = 4, 25


def voice_of(valence: float, arousal: float) -> Floats:
    steps = SECONDS * RATE_HZ
    return speak(
        np.full(steps, valence, np.float32), np.full(steps, arousal, np.float32), rate_hz=RATE_HZ
    )


def periodicity(waveform: Floats) -> tuple[float, float]:
    """Median pitch in Hz and median share of harmonics, from the autocorrelation of loud parts."""
    pitches, shares = [], []
    for start in range(0, len(waveform) - 1024, 512):
        part = waveform[start : start + 1024]
        if part.std() < 0.6 * waveform.std():
            continue
        correlation = np.correlate(part, part, "full")[1023:]
        lag = 40 + int(correlation[40:250].argmax())
        pitches.append(SAMPLE_RATE_HZ / lag)
        shares.append(correlation[lag] / correlation[0])
    return float(np.median(pitches)), float(np.median(shares))


def test_voice_lasts_as_long_as_the_feeling() -> None:
    waveform = voice_of(0, 0)
    assert (waveform.shape, waveform.dtype) == ((SECONDS * SAMPLE_RATE_HZ,), np.float32)
    assert np.abs(waveform).max() <= 1


def test_pitch_and_loudness_rise_with_arousal() -> None:
    calm, excited = voice_of(0, -0.9), voice_of(0, 0.9)
    assert periodicity(excited)[0] > 1.5 * periodicity(calm)[0]
    assert excited.std() > 3 * calm.std()


def test_breath_gives_way_to_harmonics_with_valence() -> None:
    assert periodicity(voice_of(0.9, 0))[1] > periodicity(voice_of(-0.9, 0))[1] + 0.05


def test_pitch_at_rest_is_the_actors() -> None:
    # intonation moves a phrase by about a tenth of an octave
    assert periodicity(voice_of(0, 0))[0] == pytest.approx(120, rel=0.1)


def test_same_seed_speaks_the_same_words() -> None:
    assert np.array_equal(voice_of(0.3, 0.3), voice_of(0.3, 0.3))


def test_trajectory_stays_on_the_plane_and_visits_both_sides_of_each_axis() -> None:
    feeling = wander(seconds=10, rate_hz=25, seed=7)
    assert feeling.times.shape == feeling.valence.shape == feeling.arousal.shape == (250,)
    for track in (feeling.valence, feeling.arousal):
        assert -1 <= track.min() < -0.3
        assert 0.3 < track.max() <= 1


def test_trajectory_is_smooth() -> None:
    feeling = wander(seconds=10, rate_hz=25, seed=7)
    assert np.abs(np.diff(feeling.valence)).max() < 0.12
