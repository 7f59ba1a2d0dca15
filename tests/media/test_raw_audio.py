"""Raw audio resumes from a snapshot at any place, also while frames are held back."""

from __future__ import annotations

import numpy as np
import pytest

from service.domain.array_types import Float32Array
from service.domain.stream import AudioFormat, SampleEncoding
from service.media.raw_audio import RawAudioReader
from service.media.resample import AudioSegment

RATE_HZ = 48_000
PIECE_SAMPLES = 960
PIECES = 120


def make_format(channels: int) -> AudioFormat:
    return AudioFormat(encoding=SampleEncoding.F32, rate_hz=RATE_HZ, channels=channels)


def join(segments: list[AudioSegment]) -> Float32Array:
    waveform = np.zeros(4 * 16_000, np.float32)
    for first, samples in segments:
        waveform[first : first + len(samples)] = samples
    return waveform


def make_opposite_pieces(channels: int) -> list[bytes]:
    """Make pieces of 20 ms whose first two channels are opposite in the middle second."""
    voice = 0.3 * np.random.default_rng(6).standard_normal(PIECES * PIECE_SAMPLES)
    samples = np.stack([voice] + [0.01 * voice] * (channels - 1), axis=1)
    samples[:, 1] = voice
    samples[40 * PIECE_SAMPLES : 80 * PIECE_SAMPLES, 1] *= -1
    return [part.astype("<f4").tobytes() for part in np.split(np.clip(samples, -1, 1), PIECES)]


def stray_seconds(number: int) -> float:
    """Jitter by 8 ms, and a gap of 60 ms before piece 90."""
    return 0.008 * (number % 2) + (0.06 if number >= 90 else 0.0)


@pytest.mark.parametrize("channels", [2, 6, 8])
def test_reading_continues_from_any_snapshot(channels: int) -> None:
    pieces = make_opposite_pieces(channels)
    times = [0.02 * number + stray_seconds(number) for number in range(PIECES)]
    whole = RawAudioReader(make_format(channels))
    segments: list[AudioSegment] = []
    resumed: dict[int, tuple[int, RawAudioReader]] = {}
    for number, (data, seconds) in enumerate(zip(pieces, times, strict=True)):
        if number in (0, 1, 42, 46, 75, 92, 100):
            reader = RawAudioReader(make_format(channels))
            reader.restore(whole.snapshot())
            resumed[number] = len(segments), reader
        segments += whole.push(data, seconds)
    segments += whole.flush()
    assert "audio_opposite_phase" in whole.flags()
    assert whole.buffer.discontinuities.gaps == 1
    for number, (before, reader) in resumed.items():
        rest = segments[:before]
        for data, seconds in zip(pieces[number:], times[number:], strict=True):
            rest += reader.push(data, seconds)
        rest += reader.flush()
        np.testing.assert_allclose(join(rest), join(segments), rtol=0, atol=1e-6)
        assert reader.flags() >= whole.flags() - {"audio_gaps"}
        assert reader.samples == whole.samples


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 8])
def test_a_voice_in_every_channel_is_as_loud_as_in_one(channels: int) -> None:
    voice = np.clip(0.2 * np.random.default_rng(6).standard_normal(RATE_HZ), -1, 1)
    powers: list[float] = []
    for count in (1, channels):
        reader = RawAudioReader(make_format(count))
        data = np.tile(voice[:, None], (1, count)).astype("<f4").tobytes()
        segments = [*reader.push(data, 0.0), *reader.flush()]
        powers.append(float(np.square(join(segments)).sum()))
    assert powers[1] == pytest.approx(powers[0], rel=0.05)
