"""Comparison of ratios of CPU time with their baseline."""

import json

import pytest

from bench.check import BASELINE, compare_repeatedly
from bench.cost import FrameCost
from bench.ratios import compute_ratios

Rounds = list[dict[str, FrameCost]]


def make_rounds(*loads: float, face: float = 1.6) -> Rounds:
    """Make rounds in each of which everything takes so many times as long."""
    stages = {"decoding": 1.0, "face": face, "audio": 0.1, "fusion": 0.2}
    bare = {"bare_decoding": 0.8, "bare_mesh": 0.8, "bare fusion": 0.1}
    costs = stages | bare | {"service": sum(stages.values()) + 0.3}
    return [
        {
            name: FrameCost(cpu_seconds=load * cost / 1e3, wall_seconds=1.0)
            for name, cost in costs.items()
        }
        for load in loads
    ]


class Measurements:
    """Measurements in turn; counts how many were taken."""

    def __init__(self, *measurements: Rounds) -> None:
        self._measurements = measurements
        self.taken = 0

    def __call__(self) -> Rounds:
        self.taken += 1
        return self._measurements[min(self.taken, len(self._measurements)) - 1]


def find_lost(measure: Measurements) -> list[str]:
    baseline = compute_ratios(make_rounds(1.0))
    return [each.name for each in compare_repeatedly(measure, baseline) if each.is_lost]


def test_ratios_do_not_depend_on_the_load_of_a_round() -> None:
    quiet, busy = compute_ratios(make_rounds(1.0)), compute_ratios(make_rounds(1.0, 3.0, 7.0))
    assert quiet == busy
    assert quiet == {"decoding": 0.8, "faces": 0.5, "fusion": 0.5, "service": 0.906}


@pytest.mark.parametrize("slower", [1.4, 2.0])
def test_stage_that_became_dearer_is_found(slower: float) -> None:
    measure = Measurements(make_rounds(1.0, 2.0, 1.0, face=1.6 * slower))
    assert find_lost(measure) == ["faces"]
    assert measure.taken == 3


def test_stage_may_become_dearer_by_a_quarter() -> None:
    measure = Measurements(make_rounds(1.0, face=1.6 * 1.25))
    assert find_lost(measure) == []
    assert measure.taken == 1


def test_loss_in_a_minority_of_the_rounds_does_not_fail() -> None:
    disturbed = make_rounds(1.0, 1.0, face=4.0)
    measure = Measurements([*disturbed, *make_rounds(1.0)], make_rounds(1.0, 1.0, 1.0))
    assert find_lost(measure) == []
    assert measure.taken == 2


def test_ratio_without_a_baseline_is_shown_and_not_judged() -> None:
    comparisons = compare_repeatedly(lambda: make_rounds(1.0), {"decoding": 0.8})
    assert {each.name: each.is_lost for each in comparisons if each.baseline is None} == {
        "faces": False,
        "fusion": False,
        "service": False,
    }


def test_committed_baseline_has_every_ratio_that_any_processor_has() -> None:
    assert {"decoding", "faces", "service"} <= set(json.loads(BASELINE.read_text()))
