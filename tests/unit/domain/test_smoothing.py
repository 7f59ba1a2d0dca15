"""Smoothing over irregular, repeated and backward times."""

import math
import random

from service.domain.smoothing import KERNEL_RADIUS_SIGMAS, MAX_FRAME_RATE_HZ, Sample, Smoother


def smooth(samples: list[Sample], sigma_seconds: float) -> list[Sample]:
    smoother = Smoother(sigma_seconds=sigma_seconds)
    return [out for sample in samples for out in smoother.add(sample)] + list(smoother.close())


def naive_gaussian(samples: list[Sample], sigma: float) -> list[tuple[float, float] | None]:
    """Weighted mean of each frame over all others, weights by time."""
    smoothed: list[tuple[float, float] | None] = []
    for here in samples:
        total, sums = 0.0, [0.0, 0.0]
        for there in samples:
            distance = abs(here.time_seconds - there.time_seconds) / sigma
            if there.values is not None and distance <= KERNEL_RADIUS_SIGMAS:
                weight = math.exp(-(distance**2) / 2)
                total += weight
                sums = [s + weight * v for s, v in zip(sums, there.values, strict=True)]
        smoothed.append(None if here.values is None else (sums[0] / total, sums[1] / total))
    return smoothed


def irregular_samples() -> list[Sample]:
    rng = random.Random(3)
    time, samples = 0.0, list[Sample]()
    for index in range(200):
        time += rng.choice((0.01, 0.04, 0.2, 0.7))
        values = None if index % 7 == 0 else (rng.uniform(-1, 1), rng.uniform(-1, 1))
        samples.append(Sample(time_seconds=time, values=values))
    return samples


def test_smoothing_equals_a_naive_gaussian_over_irregular_times() -> None:
    samples = irregular_samples()
    smoothed = smooth(samples, 0.2)
    assert [s.time_seconds for s in smoothed] == [s.time_seconds for s in samples]
    for got, expected in zip(smoothed, naive_gaussian(samples, 0.2), strict=True):
        if expected is None:
            assert got.values is None
        else:
            assert got.values is not None
            # the same sum in another order
            assert math.dist(got.values, expected) < 1e-12


def test_constant_timeline_is_unchanged() -> None:
    samples = [Sample(time_seconds=i / 25, values=(0.25, -0.5)) for i in range(100)]
    assert all(math.dist(s.values or (9, 9), (0.25, -0.5)) < 1e-12 for s in smooth(samples, 0.2))


def test_sigma_zero_returns_every_sample_at_once() -> None:
    smoother = Smoother(sigma_seconds=0)
    sample = Sample(time_seconds=1.0, values=(0.1, 0.2))
    assert list(smoother.add(sample)) == [sample]


def test_sample_is_settled_three_sigmas_later_and_no_later() -> None:
    smoother = Smoother(sigma_seconds=0.1)
    assert list(smoother.add(Sample(time_seconds=0.0, values=(1, 1)))) == []
    assert list(smoother.add(Sample(time_seconds=0.25, values=(1, 1)))) == []
    assert len(list(smoother.add(Sample(time_seconds=0.31, values=(1, 1))))) == 1


def test_times_that_jump_back_lose_no_sample() -> None:
    times = [0.0, 0.04, 5.0, 0.08, 0.12, 5.04]
    samples = [Sample(time_seconds=time, values=(0.5, 0.5)) for time in times]
    assert [s.time_seconds for s in smooth(samples, 0.2)] == times


def test_repeated_times_are_smoothed_over_a_bounded_number_of_frames() -> None:
    sigma, count = 0.01, 200
    reach = math.ceil(KERNEL_RADIUS_SIGMAS * sigma * MAX_FRAME_RATE_HZ)
    smoother, smoothed = Smoother(sigma_seconds=sigma), list[Sample]()
    for index in range(count):
        smoothed += smoother.add(Sample(time_seconds=1.0, values=(index / count, 0.0)))
        assert index + 1 - len(smoothed) <= reach
    smoothed += smoother.close()
    for index, sample in enumerate(smoothed):
        near = range(max(index - reach, 0), min(index + reach + 1, count))
        assert sample.values is not None
        # a mean of equal weights, summed in another order
        assert abs(sample.values[0] - sum(near) / len(near) / count) < 1e-12
