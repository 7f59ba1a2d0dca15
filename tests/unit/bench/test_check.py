"""Comparison of ratios of CPU time with their baseline."""

import json
from collections.abc import Mapping, Sequence

import pytest

from bench.check import BASELINE, compare_repeatedly
from bench.cost import FrameCost
from bench.ratios import compute_ratios

BASELINE_RATIOS = {"decoding": 0.8, "faces": 0.4, "service": 0.8}


class Measurements:
    """Measurements in turn; counts how many were taken."""

    def __init__(self, *ratios: Mapping[str, float]) -> None:
        self._ratios = ratios
        self.taken = 0

    def __call__(self) -> Mapping[str, float]:
        self.taken += 1
        return self._ratios[min(self.taken, len(self._ratios)) - 1]


def lost(measure: Measurements) -> list[str]:
    return [each.name for each in compare_repeatedly(measure, BASELINE_RATIOS) if each.is_lost]


def make_round(load: float, **costs: float) -> dict[str, FrameCost]:
    """Costs in milliseconds of a round in which everything takes `load` times as long."""
    return {
        name.replace("_of_", " "): FrameCost(cpu_seconds=load * ms / 1e3, wall_seconds=1.0)
        for name, ms in costs.items()
    }


def rounds(loads: Sequence[float], *, face: float = 1.6) -> list[dict[str, FrameCost]]:
    costs = {
        "bare_decoding": 0.8,
        "decoding": 1.0,
        "bare_mesh": 0.8,
        "face": face,
        "audio": 0.1,
        "plain_of_fusion": 0.4,
        "fusion": 0.2,
    }
    service = 1.0 + face + 0.1 + 0.2 + 0.3
    return [make_round(load, **costs, service=service) for load in loads]


def test_ratios_do_not_depend_on_the_load_of_a_round() -> None:
    quiet, busy = compute_ratios(rounds([1.0])), compute_ratios(rounds([1.0, 3.0, 7.0]))
    assert quiet == busy
    assert quiet == {"decoding": 0.8, "faces": 0.5, "fusion": 2.0, "service": 0.906}


@pytest.mark.parametrize("slower", [1.4, 2.0])
def test_stage_that_became_dearer_is_found(slower: float) -> None:
    baseline = compute_ratios(rounds([1.0]))
    found = compute_ratios(rounds([1.0, 2.0], face=1.6 * slower))
    comparisons = compare_repeatedly(lambda: found, baseline)
    assert [each.name for each in comparisons if each.is_lost] == ["faces"]


def test_ratio_may_fall_by_a_quarter() -> None:
    measure = Measurements({"decoding": 0.61, "faces": 0.31, "service": 0.61})
    assert lost(measure) == []
    assert measure.taken == 1


def test_loss_in_every_measurement_fails() -> None:
    measure = Measurements({"decoding": 0.8, "faces": 0.29, "service": 0.8})
    assert lost(measure) == ["faces"]
    assert measure.taken == 3


def test_loss_in_one_measurement_does_not_fail() -> None:
    measure = Measurements(
        {"decoding": 0.5, "faces": 0.4, "service": 0.8},
        {"decoding": 0.8, "faces": 0.2, "service": 0.8},
    )
    assert lost(measure) == []
    assert measure.taken == 2


def test_ratio_without_a_baseline_is_shown_and_not_judged() -> None:
    comparisons = compare_repeatedly(lambda: {"visual_backbone int8": 0.1}, BASELINE_RATIOS)
    assert [(each.baseline, each.is_lost) for each in comparisons] == [(None, False)]


def test_committed_baseline_has_every_ratio_that_any_processor_has() -> None:
    assert {"decoding", "faces", "service"} <= set(json.loads(BASELINE.read_text()))
