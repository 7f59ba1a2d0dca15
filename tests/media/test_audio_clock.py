"""Placement of audio by its timestamps: jitter, drift, and gaps that are real."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from av.audio.frame import AudioFrame

from service.domain.array_types import Float32Array
from service.media.resample import Discontinuities, PlacedResampler
from tests.media.clip_factory import make_clap
from tests.media.in_process_reading import locate_pattern

RATE_HZ = 16_000
FRAME_SAMPLES = 320
FRAMES = 300
CLAPS_SECONDS = (0.7, 2.4, 4.1, 5.3)
CLAP = make_clap(RATE_HZ)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """6 s of audio as placed: claps in faint noise. first: sample of the first."""

    waveform: Float32Array
    counts: Discontinuities
    first: int

    def locate_clap(self, near_seconds: float) -> float:
        return locate_pattern(self.waveform, CLAP, near_seconds=near_seconds)


def make_audio() -> Float32Array:
    samples = np.random.default_rng(2).uniform(1e-4, 2e-4, FRAMES * FRAME_SAMPLES)
    for seconds in CLAPS_SECONDS:
        samples[round(seconds * RATE_HZ) :][: len(CLAP)] += CLAP
    return samples.astype(np.float32)


def place(
    move: Callable[[int], float | None], *, lost: Callable[[int], bool] = lambda _: False
) -> Placement:
    """Place frames of 20 ms; `move`: seconds by which a timestamp strays; None: it has none."""
    counts = Discontinuities()
    resampler = PlacedResampler(counts)
    waveform = np.zeros(8 * RATE_HZ, np.float32)
    audio = make_audio()
    segments: list[tuple[int, Float32Array]] = []
    for number in range(FRAMES):
        if lost(number):
            continue
        part = audio[number * FRAME_SAMPLES :][:FRAME_SAMPLES]
        frame = AudioFrame.from_ndarray(part[None], format="flt", layout="mono")
        frame.sample_rate = RATE_HZ
        strayed = move(number)
        start = None if strayed is None else (0.02 * number + strayed) * RATE_HZ
        segments += resampler.push(frame, start)
    segments += resampler.flush()
    for first, samples in segments:
        waveform[first : first + len(samples)] = samples
    return Placement(waveform=waveform, counts=counts, first=segments[0][0])


def make_jitter(seconds: float) -> Callable[[int], float]:
    source = random.Random(4)
    return lambda _: 0.1 + source.uniform(-seconds, seconds)


JITTER: dict[str, Callable[[int], float | None]] = {
    "rounded to 1 ms": lambda n: 0.1 + (n % 3) * 0.0004,
    "10 ms": make_jitter(0.01),
    "30 ms": make_jitter(0.03),
    "every other late": lambda n: 0.1 + 0.01 * (n % 2),
    "first one early": lambda n: 0.1 + (0.0 if n == 0 else 0.0099),
    "bunches of four": lambda n: 0.1 - 0.02 * (n % 4),
    "bunches of half a second": lambda n: 0.1 + 0.012 * (n // 25 % 2) if n % 25 == 0 else None,
    "one far away": lambda n: 0.1 + (3.0 if n == 150 else 0.0),
    "slow, and back": lambda n: 0.1 + 0.02 * (n % 75) / 75,
}


@pytest.mark.parametrize("move", JITTER.values(), ids=JITTER.keys())
def test_jittering_timestamps_leave_samples_continuous(
    move: Callable[[int], float | None],
) -> None:
    placed = place(move)
    counts = placed.counts
    assert (counts.gaps, counts.overlaps) == (0, 0)
    end = np.flatnonzero(placed.waveform)[-1] + 1
    assert placed.waveform[placed.first : end].all()
    assert end - placed.first == pytest.approx(FRAMES * FRAME_SAMPLES, abs=0.03 * RATE_HZ)
    for seconds in CLAPS_SECONDS:
        # bunches come before their time: the mean of four is 30 ms early
        assert placed.locate_clap(seconds + 0.1) == pytest.approx(seconds + 0.09, abs=0.03)


def test_unstretched_samples_are_those_of_the_stream() -> None:
    placed = place(lambda n: 0.1 + (0.0 if n == 0 else 0.0099))
    stop = placed.first + FRAMES * FRAME_SAMPLES
    np.testing.assert_array_equal(placed.waveform[placed.first : stop], make_audio())


JUMPS = [-1.5, -0.06, -0.02, 0.02, 0.045, 0.06, 0.5, 1.8]


@pytest.mark.parametrize("jump", JUMPS)
@pytest.mark.parametrize("jitter", [0.0, 0.004])
def test_timestamps_that_leave_for_good_are_followed(jump: float, jitter: float) -> None:
    stray = make_jitter(jitter)
    placed = place(lambda n: stray(n) + (jump if n >= 150 else 0.0))
    counts = placed.counts
    assert (counts.gaps, counts.overlaps) == ((1, 0) if jump > 0 else (0, 1))
    assert counts.gap_samples / RATE_HZ == pytest.approx(max(jump, 0), abs=0.001 + 2 * jitter)
    for seconds in CLAPS_SECONDS[2:]:
        expected = seconds + 0.1 + jump
        tolerance = 0.001 + 1.5 * jitter
        assert placed.locate_clap(expected) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("period", [2, 3, 10, 40])
def test_lost_packets_leave_gaps_where_they_were(period: int) -> None:
    placed = place(lambda _: 0.1, lost=lambda number: number % period == period - 1)
    # the last three frames cannot tell a gap from jitter
    expected_gaps = len(range(period - 1, FRAMES - 1, period))
    assert placed.counts.gaps == pytest.approx(expected_gaps, abs=3)
    assert placed.counts.gap_samples == pytest.approx(
        placed.counts.gaps * FRAME_SAMPLES, abs=FRAME_SAMPLES
    )
    assert placed.counts.overlaps == 0
    if period > 2:
        found = placed.locate_clap(CLAPS_SECONDS[1] + 0.1)
        assert found == pytest.approx(CLAPS_SECONDS[1] + 0.1, abs=0.001)


@pytest.mark.parametrize("drift", [-0.01, -0.001, 0.0001, 0.001, 0.003, 0.01])
def test_a_drifting_clock_is_followed_without_gaps(drift: float) -> None:
    placed = place(lambda number: 0.1 + 0.02 * number * drift)
    end = np.flatnonzero(placed.waveform)[-1] + 1
    assert placed.waveform[placed.first : end].all()
    assert (placed.counts.gaps, placed.counts.overlaps) == (0, 0)
    for seconds in CLAPS_SECONDS:
        expected = seconds * (1 + drift) + 0.1
        assert placed.locate_clap(expected) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("early", [0.02, 0.057, 0.2])
def test_a_first_packet_before_its_time_makes_no_gap(early: float) -> None:
    placed = place(lambda number: 0.3 - (early if number == 0 else 0.0))
    assert (placed.counts.gaps, placed.counts.overlaps) == (0, 0)
    assert placed.first == pytest.approx(0.3 * RATE_HZ, abs=1)
    for seconds in CLAPS_SECONDS:
        assert placed.locate_clap(seconds + 0.3) == pytest.approx(seconds + 0.3, abs=0.001)


def test_a_pause_after_the_first_packet_is_a_gap() -> None:
    placed = place(lambda number: 0.6 - (0.4 if number == 0 else 0.0))
    assert (placed.counts.gaps, placed.counts.overlaps) == (1, 0)
    assert placed.counts.gap_samples == pytest.approx(0.4 * RATE_HZ, abs=1)
