"""Comparison of seeds and ablations."""

from __future__ import annotations

from statistics import stdev

import pytest

from training.evaluation.comparison import ScoredRun, compare_ablations, compare_seeds


def make_scored_run(name: str, seed: int, valence: float, arousal: float) -> ScoredRun:
    figures = {"valence": valence, "arousal": arousal, "mean": (valence + arousal) / 2}
    return ScoredRun(
        name=name, run=f"{name}_{seed}", seed=seed, backbones="full_0", metrics=figures
    )


FULL = [
    make_scored_run("full", 0, 0.90, 0.80),
    make_scored_run("full", 1, 0.86, 0.82),
    make_scored_run("full", 2, 0.88, 0.78),
]


def test_seed_comparison_has_mean_deviation_and_range() -> None:
    seeds = compare_seeds(FULL)
    assert seeds is not None
    assert [run["run"] for run in seeds["runs"]] == ["full_0", "full_1", "full_2"]
    assert seeds["mean"]["valence"] == pytest.approx(0.88)
    assert seeds["spread"]["range"]["valence"] == pytest.approx(0.04)
    assert seeds["spread"]["deviation"]["arousal"] == pytest.approx(stdev([0.80, 0.82, 0.78]))


def test_single_seed_has_no_spread_and_no_significance() -> None:
    assert compare_seeds(FULL[:1]) is None
    table = compare_ablations([make_scored_run("no_tcn", 0, 0.5, 0.5)], FULL[:1], None)
    assert table["no_tcn"]["beyond_seeds"] is None
    assert table["no_tcn"]["margin"]["valence"] == pytest.approx(0.4)


def test_ablation_is_compared_with_the_full_model_of_the_same_seed() -> None:
    runs = [make_scored_run("no_tcn", 0, 0.80, 0.70), make_scored_run("no_tcn", 2, 0.84, 0.70)]
    figures = compare_ablations(runs, FULL, compare_seeds(FULL))["no_tcn"]
    assert [run["against"] for run in figures["runs"]] == ["full_0", "full_2"]
    assert figures["valence"] == pytest.approx(0.82)
    assert figures["margin"]["valence"] == pytest.approx((0.10 + 0.04) / 2)
    assert figures["margin"]["arousal"] == pytest.approx((0.10 + 0.08) / 2)


def test_an_ablation_without_a_full_model_of_its_seed_is_compared_with_the_first() -> None:
    figures = compare_ablations([make_scored_run("no_tcn", 7, 0.8, 0.7)], FULL, None)["no_tcn"]
    assert figures["runs"][0]["against"] == "full_0"


@pytest.mark.parametrize(("valence", "beyond"), [(0.85, True), (0.87, False)])
def test_margin_is_significant_when_larger_than_the_seed_range(
    valence: float, beyond: bool
) -> None:
    runs = [make_scored_run("no_la_se", 0, valence, 0.80)]
    figures = compare_ablations(runs, FULL, compare_seeds(FULL))["no_la_se"]
    assert figures["beyond_seeds"]["valence"] is beyond
    assert figures["beyond_seeds"]["arousal"] is False
