"""The voice follows what it shows, measured on the sound itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from service.domain.arrays import Floats
from service.domain.time import SAMPLE_RATE_HZ
from training.synthetic.latent import CONTROL_RATE_HZ, Trajectory
from training.synthetic.speech import Gestures, Timbre, utter
from training.synthetic.voice import Microphone, voice

SECONDS = 4
TIMBRE = Timbre(pitch_hz=120.0, formant_scale=1.0)
QUIET = Microphone()


def gestures_of(valence: float, arousal: float, *, talkativeness: float = 1.0) -> Gestures:
    steps = np.ones(SECONDS * CONTROL_RATE_HZ + 1)
    shown = Trajectory(valence=valence * steps, arousal=arousal * steps)
    return utter(shown, TIMBRE, talkativeness, np.random.default_rng(0))


def sound_of(valence: float, arousal: float, microphone: Microphone = QUIET) -> Floats:
    return voice(gestures_of(valence, arousal), TIMBRE, microphone, seed=0)


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


def test_voice_lasts_as_long_as_the_gestures() -> None:
    waveform = sound_of(0, 0)
    assert (waveform.shape, waveform.dtype) == ((SECONDS * SAMPLE_RATE_HZ,), np.float32)
    assert np.abs(waveform).max() <= 1


def test_pitch_loudness_and_rate_rise_with_arousal() -> None:
    calm, excited = sound_of(0, -0.9), sound_of(0, 0.9)
    assert periodicity(excited)[0] > 1.5 * periodicity(calm)[0]
    assert excited.std() > 2.5 * calm.std()
    assert gestures_of(0, 0.9).rate_hz.mean() > 1.5 * gestures_of(0, -0.9).rate_hz.mean()


def test_breath_gives_way_to_harmonics_with_valence() -> None:
    assert periodicity(sound_of(0.9, 0))[1] > periodicity(sound_of(-0.9, 0))[1] + 0.05


def test_pitch_at_rest_is_the_actors() -> None:
    # intonation moves a phrase by about a tenth of an octave
    assert periodicity(sound_of(0, 0))[0] == pytest.approx(120, rel=0.1)


def test_same_seed_speaks_the_same_words() -> None:
    assert np.array_equal(sound_of(0.3, 0.3), sound_of(0.3, 0.3))


def test_voice_falls_silent_between_phrases_but_the_room_does_not() -> None:
    gestures = replace(gestures_of(0, 0), loudness=np.zeros(SECONDS * CONTROL_RATE_HZ + 1))
    hissing = Microphone(hiss=0.003, hum=0.001, knocks_per_second=0.5)
    level = voice(gestures, TIMBRE, hissing, seed=0).std()
    assert level == pytest.approx(0.003, rel=3)
    assert sound_of(0, 0).std() > 5 * level


def test_less_talkative_actors_are_silent_for_longer() -> None:
    long, short = (
        utter(
            Trajectory(valence=np.zeros(6_000), arousal=np.zeros(6_000)),
            TIMBRE,
            share,
            np.random.default_rng(1),
        ).speaking.mean()
        for share in (0.85, 0.5)
    )
    assert 1 > long > short + 0.1 > 0.3
