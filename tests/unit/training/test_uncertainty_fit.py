"""Fit and measures of the uncertainty, on drawn errors whose standard deviation is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from service.domain.array_types import Float64Array
from service.domain.uncertainty import FACTORS, RISING_FACTORS, StdMeaning, UncertaintyModel
from training.evaluation.conditions import Scenario, ScoredFrames
from training.evaluation.uncertainty_fit import (
    compute_shares,
    fit_uncertainty,
    weighted_quantile,
)
from training.evaluation.uncertainty_metrics import (
    list_cells,
    measure_ceiling,
    measure_uncertainty,
    rank_correlation,
)

FRAMES = 200
TRUE_WEIGHTS = {"constant": -2.0, "absence": 0.4, "smallness": 0.1, "voicelessness": 0.2}
TRUE_MODEL = UncertaintyModel(
    meaning=StdMeaning.CALIBRATED,
    weights={name: (TRUE_WEIGHTS.get(name, 0.0), TRUE_WEIGHTS.get(name, 0.0)) for name in FACTORS},
)
PROVISIONAL_FACTOR = 1.5


def draw_part(subject: int, scenario: Scenario, random: np.random.Generator) -> ScoredFrames:
    """Draw frames with errors of the true model; provisional ones are half as large again."""
    is_provisional = scenario is Scenario.PROVISIONAL
    conditions: Float64Array = np.stack(
        [
            np.where(random.random(FRAMES) < 0.3, random.uniform(0, 8, FRAMES), 0.0),
            np.full(FRAMES, random.uniform(14, 93)),
            np.ones(FRAMES),
            random.uniform(0, 3, FRAMES),
        ],
        axis=1,
    )
    mean = random.uniform(-0.8, 0.8, (FRAMES, 2)).astype(np.float32)
    spread = random.uniform(0.02, 0.1, (FRAMES, 2)).astype(np.float32)
    std = TRUE_MODEL.compute_std(mean, spread, conditions) * (
        PROVISIONAL_FACTOR if is_provisional else 1
    )
    truth = mean + std * random.standard_normal((FRAMES, 2))
    return ScoredFrames(
        scenario=scenario,
        subject=f"person{subject}",
        rate="25" if subject % 2 else "variable",
        mean=mean,
        spread=spread,
        truth=truth.astype(np.float32),
        conditions=conditions,
    )


def draw_people(first: int, count: int) -> list[ScoredFrames]:
    random = np.random.default_rng(first)
    scenarios = (Scenario.AS_RECORDED, Scenario.ABSENT, Scenario.PROVISIONAL)
    return [
        draw_part(subject, scenario, random)
        for subject in range(first, first + count)
        for scenario in scenarios
    ]


@pytest.fixture(scope="module")
def fitted() -> UncertaintyModel:
    return fit_uncertainty(draw_people(0, 40), UncertaintyModel(silence=(0.0,) * 128))


def test_the_fit_finds_what_makes_errors_larger(fitted: UncertaintyModel) -> None:
    assert (fitted.meaning, fitted.subjects) == (StdMeaning.CALIBRATED, 40)
    assert fitted.frames == 40 * FRAMES
    assert len(fitted.silence) == 128
    for name in ("absence", "smallness", "voicelessness"):
        # 16,000 errors of which 40 heights
        np.testing.assert_allclose(fitted.weights[name], TRUE_WEIGHTS[name], atol=0.05)
    np.testing.assert_allclose(fitted.provisional, np.log(PROVISIONAL_FACTOR), atol=0.06)


def test_no_factor_of_doubt_makes_an_estimate_more_certain() -> None:
    random = np.random.default_rng(0)
    parts = draw_people(0, 6)
    for part in parts:
        # Errors that shrink with the time of absence.
        std = np.exp(-2 - 0.3 * part.conditions[:, :1])
        part.truth[:] = part.mean + std * random.standard_normal((FRAMES, 2))
    fitted = fit_uncertainty(parts, UncertaintyModel())
    assert fitted.weights["absence"] == (0.0, 0.0)
    assert all(min(fitted.weights[name]) >= 0 for name in RISING_FACTORS)


def test_strangers_are_covered_in_every_part_and_errors_ranked(fitted: UncertaintyModel) -> None:
    strangers = draw_people(1000, 40)
    figures = measure_uncertainty(strangers, fitted)
    assert set(figures) == {"all", "as_recorded", "absent", "provisional"}
    cells = list_cells(figures["all"])
    assert {"observed", "carried on", "rate 25", "rate variable"} < set(cells)
    for pair in (*cells.values(), figures["provisional"]["coverage_90"]):
        assert all(0.86 <= pair[target] <= 0.94 for target in ("valence", "arousal")), pair
    before = measure_uncertainty(strangers, UncertaintyModel())["all"]
    assert figures["all"]["spearman"]["valence"] > 0.25
    assert abs(before["spearman"]["valence"]) < 0.05
    assert before["coverage_90"]["valence"] < 0.8


def test_one_person_can_be_fitted(fitted: UncertaintyModel) -> None:
    alone = fit_uncertainty(draw_people(0, 1)[:1], UncertaintyModel())
    assert alone.provisional == (0.0, 0.0)
    assert np.isfinite([*alone.weights.values()]).all()


def test_people_count_alike_whatever_their_number_of_frames() -> None:
    random = np.random.default_rng(0)
    long, short = (draw_part(subject, Scenario.ABSENT, random) for subject in range(2))
    parts: Sequence[ScoredFrames] = (long, long, short)
    shares = compute_shares(parts)
    assert shares.sum() == pytest.approx(1)
    assert shares[2 * FRAMES :].sum() == pytest.approx(0.5)


def test_weighted_quantiles_equal_those_of_repeated_values() -> None:
    values, counts = np.array([3.0, 1.0, 2.0]), np.array([1, 5, 4])
    repeated = np.sort(np.repeat(values, counts))
    for share in (0.1, 0.5, 0.6, 0.9, 1.0):
        expected = repeated[int(np.ceil(share * 10)) - 1]
        assert weighted_quantile(values, counts / 10, share) == expected


def test_rank_correlation_ignores_scale_and_averages_ties() -> None:
    values = np.array([0.1, 0.2, 0.2, 5.0])
    assert rank_correlation(values, np.exp(values)) == pytest.approx(1)
    assert rank_correlation(values, -values) == pytest.approx(-1)
    assert rank_correlation(values, np.ones(4)) == 0
    # Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4.
    assert rank_correlation(values, np.arange(4.0)) == pytest.approx(4.5 / np.sqrt(4.5 * 5))


def test_the_ceiling_lies_near_the_true_model(fitted: UncertaintyModel) -> None:
    strangers = draw_people(1000, 20)
    ceiling = measure_ceiling(strangers)["all"]
    reached = measure_uncertainty(strangers, TRUE_MODEL)["all"]["spearman"]["valence"]
    assert ceiling["valence_flexible"] == pytest.approx(reached, abs=0.06)
