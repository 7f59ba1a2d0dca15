"""Metrics by person: each person's own CCC, and intervals over people."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from service.domain.array_types import Float64Array
from training.data.errors import NoAnnotatedFrames
from training.metrics import concordance_correlation
from training.person_metrics import describe_people, find_intervals, sum_by_person

Pairs = list[tuple[Float64Array, Float64Array]]


def draw_people(count: int, *, seed: int = 0, noise: float = 0.2) -> Pairs:
    """Draw the estimates and truths of people, who differ in level and in difficulty."""
    random = np.random.default_rng(seed)
    people: Pairs = []
    for _ in range(count):
        truth = random.normal(0, 0.3, (int(random.integers(60, 120)), 2))
        truth += random.normal(0, 0.3, 2)
        error = random.normal(0, noise, truth.shape) * random.uniform(0.2, 2.0)
        people.append((truth + error, truth))
    return people


def describe(people: Pairs) -> dict[str, Any]:
    names = [f"person{number}" for number in range(len(people))]
    return describe_people(sum_by_person(names, *zip(*people, strict=True)))


def test_each_persons_ccc_is_that_of_their_frames_alone() -> None:
    people = draw_people(7)
    own = np.array(
        [[concordance_correlation(e[:, t], y[:, t]) for t in range(2)] for e, y in people]
    )
    described = describe(people)
    for place, target in enumerate(("valence", "arousal")):
        assert described["mean"][target] == pytest.approx(own[:, place].mean())
        assert described["deviation"][target] == pytest.approx(own[:, place].std(ddof=1))
        assert described["lowest"][target] == pytest.approx(own[:, place].min())
        assert described["highest"][target] == pytest.approx(own[:, place].max())
    assert described["mean"]["mean"] == pytest.approx(own.mean())


def test_recordings_of_one_person_belong_together() -> None:
    people = draw_people(4)
    names, parts = ["a", "a", "b", "c"], list(zip(*people, strict=True))
    joined = sum_by_person(names, *parts)
    first = [np.concatenate([part[0], part[1]]) for part in parts]
    assert len(joined) == 3
    expected = concordance_correlation(first[0][:, 0], first[1][:, 0])
    assert joined.own_ccc[0, 0] == pytest.approx(expected)


def test_intervals_are_repeatable_contain_the_figure_and_narrow_with_people() -> None:
    widths: list[float] = []
    for count in (6, 24, 96):
        people = draw_people(count)
        described = describe(people)
        assert described == describe(people)
        low, high = described["interval_95"]["valence"]
        estimate, truth = (np.concatenate(part) for part in zip(*people, strict=True))
        assert low < concordance_correlation(estimate[:, 0], truth[:, 0]) < high
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 2 * widths[2]


def test_an_interval_over_many_people_holds_the_figure_of_others() -> None:
    """The figure of a large world is inside of the intervals of most samples of 24 people."""
    everybody = draw_people(2_000, seed=1)
    estimate, truth = (np.concatenate(part) for part in zip(*everybody, strict=True))
    figure = concordance_correlation(estimate[:, 0], truth[:, 0])
    inside = 0
    for first in range(0, 2_000, 50):
        low, high = describe(everybody[first : first + 24])["interval_95"]["valence"]
        inside += low <= figure <= high
    assert inside >= 34  # of 40; all seeds are fixed


def test_a_larger_share_is_a_wider_interval() -> None:
    people = draw_people(12)
    samples = sum_by_person([*map(str, range(12))], *zip(*people, strict=True)).resample_ccc()
    narrow, wide = find_intervals(samples), find_intervals(samples, 0.99)
    for target in ("valence", "arousal", "mean"):
        assert wide[target][0] < narrow[target][0] < narrow[target][1] < wide[target][1]


def test_one_person_has_no_deviation_and_no_interval() -> None:
    described = describe(draw_people(1))
    assert described["people"] == 1
    for name in ("deviation", "interval_95", "mean_interval_95"):
        assert described[name] is None


def test_constant_people_and_people_without_frames_are_harmless() -> None:
    constant = np.full((5, 2), 0.25)
    nothing = np.zeros((0, 2))
    sums = sum_by_person(
        ["a", "b", "c"], [constant, constant + 0.5, nothing], [constant, constant, nothing]
    )
    described = describe_people(sums)
    assert described["people"] == 2
    assert described["highest"]["valence"] == pytest.approx(1.0)
    assert described["lowest"]["valence"] == pytest.approx(0.0)
    json.dumps(described, allow_nan=False)
    with pytest.raises(NoAnnotatedFrames):
        sum_by_person(["c"], [nothing], [nothing])
