"""Trajectories of feelings, and their expression by the face."""

from __future__ import annotations

import numpy as np

from training.synthetic.performance import Performance
from training.synthetic.trajectory import CONTROL_RATE_HZ, generate_trajectory

TRAJECTORIES = [generate_trajectory(seconds=60, seed=seed) for seed in range(12)]


def test_feeling_stays_on_the_plane_and_visits_both_sides_of_each_axis() -> None:
    for name in ("valence", "arousal"):
        track = np.concatenate([getattr(take, name) for take in TRAJECTORIES])
        assert -1 < track.min() < -0.6
        assert 0.6 < track.max() < 1
        assert 0.3 < track.std() < 0.6


def test_valence_and_arousal_are_nearly_uncorrelated() -> None:
    valence, arousal = (
        np.concatenate([getattr(take, name) for take in TRAJECTORIES])
        for name in ("valence", "arousal")
    )
    assert abs(np.corrcoef(valence, arousal)[0, 1]) < 0.3


def test_trajectory_has_pauses_and_fast_changes() -> None:
    speed = (
        np.concatenate([np.abs(np.diff(take.valence)) for take in TRAJECTORIES]) * CONTROL_RATE_HZ
    )
    assert (speed < 0.005).mean() > 0.03
    assert speed.max() > 1.5
    # still smooth: no jump within a frame
    assert speed.max() < 6


def test_face_follows_the_feeling_later() -> None:
    lags: list[float] = []
    for seed in range(8):
        performance = Performance.from_seed(seed, seconds=60)
        felt = performance.feeling.valence
        smile = performance.expressions.smile
        scores = [np.corrcoef(felt[: len(felt) - k], smile[k:])[0, 1] for k in range(0, 120, 5)]
        lags.append(int(np.argmax(scores)) * 5 / CONTROL_RATE_HZ)
    assert 0.2 <= float(np.median(lags)) <= 0.7


def test_same_seed_gives_the_same_performance_and_takes_differ() -> None:
    times = np.arange(0, 5, 0.04)
    first, second, third = (Performance.from_seed(3, seconds=5, take=take) for take in (0, 0, 1))
    assert np.array_equal(first.truth_at(times), second.truth_at(times))
    assert first.expressions.sample(times) == second.expressions.sample(times)
    assert first.actor == third.actor
    assert not np.array_equal(first.truth_at(times), third.truth_at(times))


def test_face_without_occlusions_is_always_visible() -> None:
    times = np.arange(0, 30, 0.04)
    calm = Performance.from_seed(5, seconds=30, with_occlusions=False)
    assert calm.is_visible_at(times).all()
    busy = [
        Performance.from_seed(seed, seconds=30).is_visible_at(times).mean() for seed in range(10)
    ]
    assert 0.75 < float(np.mean(busy)) < 0.97
