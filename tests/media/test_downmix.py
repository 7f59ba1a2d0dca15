"""Down-mix to one channel: a voice is as loud from every layout, and channels do not cancel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.resampler import AudioResampler

from service.domain.array_types import Float32Array
from service.media.resample import Discontinuities, PlacedResampler

RATE_HZ = 48_000
FRAME_SAMPLES = 1024
SCALES = {"s16": 2**15, "s32": 2**31, "u8": 2**7}


def make_voice(seconds: float = 2.0, seed: int = 1) -> Float32Array:
    """Make noise of syllables, below full scale."""
    count = round(seconds * RATE_HZ)
    noise = np.random.default_rng(seed).standard_normal(count + 31)
    smooth = np.convolve(noise, np.hanning(32), "valid")[:count]
    syllables = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * np.arange(count) / RATE_HZ)
    return (0.3 * syllables * smooth / np.abs(smooth).max()).astype(np.float32)


def make_frames(
    channels: Sequence[Float32Array], layout: str, sample_format: str = "fltp"
) -> list[AudioFrame]:
    """Cut (n,) samples of each channel into frames of a layout and a sample format."""
    samples = np.stack(channels).astype(np.float64)
    kind = sample_format.removesuffix("p")
    if kind in SCALES:
        offset = SCALES[kind] if kind == "u8" else 0
        samples = np.round(samples * (SCALES[kind] - 1)) + offset
    dtype = {"s16": "i2", "s32": "i4", "u8": "u1", "flt": "f4", "dbl": "f8"}[kind]
    frames: list[AudioFrame] = []
    for first in range(0, samples.shape[1], FRAME_SAMPLES):
        part = samples[:, first : first + FRAME_SAMPLES].astype(dtype)
        packed = part if sample_format.endswith("p") else part.T.reshape(1, -1)
        frame = AudioFrame.from_ndarray(
            np.ascontiguousarray(packed), format=sample_format, layout=layout
        )
        frame.sample_rate = RATE_HZ
        frames.append(frame)
    return frames


def mix(frames: Sequence[AudioFrame]) -> tuple[Float32Array, bool]:
    """Mix as the service does; returns 16 kHz samples, and whether channels have cancelled."""
    resampler = PlacedResampler(Discontinuities())
    parts = [samples for frame in frames for _, samples in resampler.push(frame, None)]
    parts += [samples for _, samples in resampler.flush()]
    return np.concatenate(parts), resampler.has_cancelled


def mix_plainly(frames: Sequence[AudioFrame]) -> Float32Array:
    """Mix by FFmpeg's mean of the channels."""
    plain = AudioResampler("flt", "mono", 16_000, options={"rematrix_maxval": "1.0"})
    mixed = [each for frame in [*frames, None] for each in plain.resample(frame)]
    return np.concatenate([each.to_ndarray().reshape(-1) for each in mixed]).astype(np.float32)


def measure_decibels(waveform: Float32Array, reference: Float32Array) -> float:
    power = max(float(np.mean(np.square(waveform))), 1e-12)
    return float(10 * np.log10(power / np.mean(np.square(reference))))


VOICES = {
    "stereo, both": ("stereo", (0, 1)),
    "5.1, centre": ("5.1", (2,)),
    "5.1, front": ("5.1", (0, 1)),
    "5.1(side), centre": ("5.1(side)", (2,)),
    "7.1, centre": ("7.1", (2,)),
    "7.1, all": ("7.1", tuple(range(8))),
    "3.0, centre": ("3.0", (2,)),
    "quad, front": ("quad", (0, 1)),
    "4.0, centre": ("4.0", (2,)),
    "six channels without names, one": ("6C", (4,)),
    "six channels without names, all": ("6C", tuple(range(6))),
    "one that is no centre": ("FL", (0,)),
    "only the lowest": ("LFE", (0,)),
    "ambisonic": ("ambisonic 1", (0,)),
}


@pytest.mark.parametrize(("layout", "places"), VOICES.values(), ids=VOICES.keys())
def test_a_voice_is_as_loud_from_every_layout(layout: str, places: Sequence[int]) -> None:
    voice = make_voice()
    frame = make_frames([voice], "mono")
    alone, _ = mix(frame)
    silence = np.zeros_like(voice)
    count = AudioLayout(layout).nb_channels
    channels = [voice if place in places else silence for place in range(count)]
    mixed, has_cancelled = mix(make_frames(channels, layout, "flt"))
    assert measure_decibels(mixed, alone) == pytest.approx(0.0, abs=0.5)
    assert not has_cancelled


def test_full_scale_channels_are_not_clipped() -> None:
    loud = [(3.0 * make_voice(seed=seed)).astype(np.float32) for seed in range(6)]
    mixed, _ = mix(make_frames(loud, "5.1"))
    assert np.abs(mixed).max() < 1.0
    loudest = make_frames([loud[2]], "mono")
    assert measure_decibels(mixed, mix(loudest)[0]) == pytest.approx(0.0, abs=1.5)


OPPOSITES = {
    "opposite": (-1.0, 0, "fltp"),
    "weaker opposite": (-0.8, 0, "fltp"),
    "weaker opposite, the other": (-1.25, 0, "s16"),
    "half": (-0.5, 0, "s32"),
    "late by 0.1 ms": (-1.0, 5, "s16p"),
    "16 bits": (-1.0, 0, "s16"),
    "8 bits": (-1.0, 0, "u8"),
    "double": (-1.0, 0, "dblp"),
}


@pytest.mark.parametrize(("factor", "late", "kind"), OPPOSITES.values(), ids=OPPOSITES.keys())
def test_opposite_channels_are_heard_and_reported(factor: float, late: int, kind: str) -> None:
    voice = make_voice()
    frames = make_frames([voice, np.roll(factor * voice, late)], "stereo", kind)
    mixed, has_cancelled = mix(frames)
    alone, _ = mix(make_frames([max(1.0, -factor) * voice], "mono"))
    assert has_cancelled
    assert measure_decibels(mix_plainly(frames), alone) < -9
    assert measure_decibels(mixed, alone) == pytest.approx(0.0, abs=0.5)
    # from the first syllable on
    assert measure_decibels(mixed[:1600], alone[:1600]) == pytest.approx(0.0, abs=0.5)


def test_opposite_front_channels_do_not_hide_the_centre() -> None:
    voice, music = make_voice(), 3 * make_voice(seed=2)
    silence = np.zeros_like(voice)
    mixed, has_cancelled = mix(
        make_frames([music, -music, voice, silence, silence, silence], "5.1")
    )
    alone, _ = mix(make_frames([voice], "mono"))
    assert has_cancelled
    gain = float(mixed @ alone / (alone @ alone))
    assert gain == pytest.approx(1.0, abs=0.4)


def test_channels_that_turn_opposite_and_back_are_heard_without_clicks() -> None:
    tone = (0.3 * np.sin(2 * np.pi * 200 * np.arange(4 * RATE_HZ) / RATE_HZ)).astype(np.float32)
    right = tone.copy()
    right[RATE_HZ : 2 * RATE_HZ] *= -1
    mixed, has_cancelled = mix(make_frames([tone, right], "stereo"))
    alone, _ = mix(make_frames([tone], "mono"))
    assert has_cancelled
    assert measure_decibels(mixed, alone) == pytest.approx(0.0, abs=0.5)
    # 64 ms within which the channels change; at no place a step that the tone does not have
    assert np.abs(np.diff(mixed)).max() < 1.1 * np.abs(np.diff(alone)).max()
    powers = np.convolve(np.square(mixed), np.ones(1024) / 1024, "valid")
    assert powers.min() > 0.25 * np.square(alone).mean()


UNOPPOSED = {
    "wide": (1.0, 0.0),
    "unrelated": (0.0, 1.0),
    "one channel": (0.0, 0.0),
    "a little opposite": (-0.2, 0.5),
}


@pytest.mark.parametrize(("shared", "own"), UNOPPOSED.values(), ids=UNOPPOSED.keys())
def test_other_stereo_is_the_mean_of_its_channels_bit_for_bit(shared: float, own: float) -> None:
    left = make_voice()
    right = (shared * left + own * make_voice(seed=2)).astype(np.float32)
    frames = make_frames([left, right], "stereo")
    mixed, has_cancelled = mix(frames)
    np.testing.assert_array_equal(mixed, mix_plainly(frames))
    assert not has_cancelled


def test_silence_and_faint_noise_do_not_cancel() -> None:
    noise = 1e-4 * make_voice()
    mixed, has_cancelled = mix(make_frames([noise, -noise], "stereo"))
    assert not has_cancelled
    assert not mixed.any()
