"""Synthesised voice: pitch, loudness, breath and noise, measured on the audio."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from service.domain.array_types import Float32Array
from service.domain.audio_grid import SAMPLE_RATE_HZ
from training.synthetic.speech import SpeechGestures, Timbre, generate_speech
from training.synthetic.trajectory import CONTROL_RATE_HZ, Trajectory
from training.synthetic.voice import Microphone, synthesise_voice

SECONDS = 4
TIMBRE = Timbre(pitch_hz=120.0, formant_scale=1.0)
QUIET_MICROPHONE = Microphone()


def make_gestures(valence: float, arousal: float, *, talkativeness: float = 1.0) -> SpeechGestures:
    steps = np.ones(SECONDS * CONTROL_RATE_HZ + 1)
    expressed = Trajectory(valence=valence * steps, arousal=arousal * steps)
    return generate_speech(expressed, TIMBRE, talkativeness, np.random.default_rng(0))


def synthesise_audio(
    valence: float, arousal: float, microphone: Microphone = QUIET_MICROPHONE
) -> Float32Array:
    return synthesise_voice(make_gestures(valence, arousal), TIMBRE, microphone, seed=0)


def periodicity(waveform: Float32Array) -> tuple[float, float]:
    """Measure median pitch in Hz and median share of harmonics, by autocorrelation."""
    pitches: list[float] = []
    shares: list[float] = []
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
    waveform = synthesise_audio(0, 0)
    assert (waveform.shape, waveform.dtype) == ((SECONDS * SAMPLE_RATE_HZ,), np.float32)
    assert np.abs(waveform).max() <= 1


def test_pitch_loudness_and_rate_rise_with_arousal() -> None:
    calm, excited = synthesise_audio(0, -0.9), synthesise_audio(0, 0.9)
    assert periodicity(excited)[0] > 1.5 * periodicity(calm)[0]
    assert excited.std() > 2.5 * calm.std()
    assert make_gestures(0, 0.9).rate_hz.mean() > 1.5 * make_gestures(0, -0.9).rate_hz.mean()


def test_share_of_harmonics_over_breath_rises_with_valence() -> None:
    assert (
        periodicity(synthesise_audio(0.9, 0))[1] > periodicity(synthesise_audio(-0.9, 0))[1] + 0.05
    )


def test_neutral_pitch_is_that_of_the_timbre() -> None:
    # intonation moves a phrase by about a tenth of an octave
    assert periodicity(synthesise_audio(0, 0))[0] == pytest.approx(120, rel=0.1)


def test_same_seed_gives_the_same_audio() -> None:
    assert np.array_equal(synthesise_audio(0.3, 0.3), synthesise_audio(0.3, 0.3))


def test_background_noise_remains_between_phrases() -> None:
    gestures = replace(make_gestures(0, 0), loudness=np.zeros(SECONDS * CONTROL_RATE_HZ + 1))
    hissing = Microphone(hiss=0.003, hum=0.001, knocks_per_second=0.5)
    level = synthesise_voice(gestures, TIMBRE, hissing, seed=0).std()
    assert level == pytest.approx(0.003, rel=3)
    assert synthesise_audio(0, 0).std() > 5 * level


def test_less_talkative_actors_are_silent_for_longer() -> None:
    long, short = (
        generate_speech(
            Trajectory(valence=np.zeros(6_000), arousal=np.zeros(6_000)),
            TIMBRE,
            share,
            np.random.default_rng(1),
        ).speaking.mean()
        for share in (0.85, 0.5)
    )
    assert 1 > long > short + 0.1 > 0.3
