"""Measures of an uncertainty: coverage of its 90 % interval, rank correlation with the error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from service.domain.array_types import BoolArray, Float64Array
from service.domain.model_signatures import TARGETS
from service.domain.uncertainty import UncertaintyModel, compute_factors
from training.evaluation.conditions import FINAL_SCENARIOS, Scenario, ScoredFrames
from training.evaluation.uncertainty_fit import compute_shares, fit_log_std, split_thirds
from training.metrics import NORMAL_90_QUANTILE, Values

ALL: Final = "all"
DETAILED_SCENARIOS: Final = (str(Scenario.AS_RECORDED), ALL)
"""Scenarios of which reports show the parts."""
_THIRDS: Final = ("low", "middle", "high")
_CEILING_FOLDS: Final = 5
_CEILING_RIDGE: Final = 1e-3
_CEILING_FRAME_STEP: Final = 4
_MIN_ERROR: Final = 1e-6


def measure_uncertainty(
    parts: Sequence[ScoredFrames], model: UncertaintyModel
) -> dict[str, dict[str, Any]]:
    """Measure a model by scenario; `all` is the final scenarios together.

    Frames count as in the fit (`compute_shares`).
    """
    groups = {ALL: [part for part in parts if part.scenario in FINAL_SCENARIOS]}
    for scenario in Scenario:
        groups[str(scenario)] = [part for part in parts if part.scenario is scenario]
    return {name: _measure_group(group, model) for name, group in groups.items() if group}


def rank_correlation(first: Values, second: Values) -> float:
    """Compute Spearman's rank correlation of (N,) values, ties at the mean rank; 0 if constant."""
    x, y = _rank(first), _rank(second)
    if float(np.ptp(x)) == 0 or float(np.ptp(y)) == 0:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def measure_ceiling(parts: Sequence[ScoredFrames]) -> dict[str, dict[str, float]]:
    """Measure how well the error can be ranked at all, by scenario: Spearman of two predictions.

    flexible: all that is known while serving and all products of it, fitted to other people.
    person: the mean error of each person in each scenario, which nobody can know.
    """
    figures: dict[str, dict[str, float]] = {}
    for name, scenarios in ((ALL, FINAL_SCENARIOS), ("as_recorded", (Scenario.AS_RECORDED,))):
        group = [_thin_out(part) for part in parts if part.scenario in scenarios]
        for place, target in enumerate(TARGETS):
            errors = [np.abs(part.mean - part.truth)[:, place] for part in group]
            means = [np.full(len(each), each.mean()) for each in errors]
            flexible = _predict_flexibly(group, place)
            figures.setdefault(name, {})[f"{target}_flexible"] = rank_correlation(
                np.concatenate(errors), flexible
            )
            figures[name][f"{target}_person"] = rank_correlation(
                np.concatenate(errors), np.concatenate(means)
            )
    return figures


def _measure_group(parts: Sequence[ScoredFrames], model: UncertaintyModel) -> dict[str, Any]:
    std = np.concatenate(
        [
            model.compute_std(
                part.mean,
                part.spread,
                part.conditions,
                is_provisional=part.scenario is Scenario.PROVISIONAL,
            )
            for part in parts
        ]
    )
    mean = np.concatenate([part.mean for part in parts])
    truth = np.concatenate([part.truth for part in parts])
    error = np.abs(mean - truth)
    is_inside = error <= NORMAL_90_QUANTILE * std
    shares = compute_shares(parts)
    rates = np.array([part.rate for part in parts for _ in range(len(part.truth))])
    carried = np.concatenate([part.conditions[:, 0] > 0 for part in parts])
    every = np.ones(len(carried), np.bool_)

    def cover(rows: BoolArray) -> dict[str, float]:
        return {name: _average(is_inside[:, t], shares, rows) for t, name in enumerate(TARGETS)}

    def cover_thirds(values: Values) -> dict[str, dict[str, float]]:
        thirds = [split_thirds(values[:, t], every) for t in range(len(TARGETS))]
        return {
            third: {
                name: _average(is_inside[:, t], shares, thirds[t][place])
                for t, name in enumerate(TARGETS)
            }
            for place, third in enumerate(_THIRDS)
        }

    return {
        "frames": len(truth),
        "subjects": len({part.subject for part in parts}),
        "coverage_90": cover(every),
        "observed": cover(~carried),
        "carried_on": cover(carried) if carried.any() else None,
        "by_rate": {rate: cover(rates == rate) for rate in sorted(set(rates.tolist()))},
        "thirds_by_estimate": cover_thirds(mean),
        "thirds_by_truth": cover_thirds(truth),
        "spearman": {
            name: rank_correlation(error[:, t], std[:, t]) for t, name in enumerate(TARGETS)
        },
        "mean_std": {name: _average(std[:, t], shares, every) for t, name in enumerate(TARGETS)},
    }


def _average(values: Values | BoolArray, shares: Float64Array, rows: BoolArray) -> float:
    return float(np.average(values[rows], weights=shares[rows])) if rows.any() else float("nan")


def _rank(values: Values) -> Float64Array:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts).astype(np.float64)
    return (last - (counts - 1) / 2)[places]


def _thin_out(part: ScoredFrames) -> ScoredFrames:
    """Every fourth frame: neighbours tell little more."""
    step = slice(None, None, _CEILING_FRAME_STEP)
    return replace(
        part,
        mean=part.mean[step],
        spread=part.spread[step],
        truth=part.truth[step],
        conditions=part.conditions[step],
    )


def _predict_flexibly(parts: Sequence[ScoredFrames], target: int) -> Float64Array:
    """Predict the logarithm of the std of every frame, (N,), from the errors of other people."""
    rows = _expand_factors(parts)
    error = np.concatenate([np.abs(part.mean - part.truth)[:, target] for part in parts])
    error, shares = np.maximum(error.astype(np.float64), _MIN_ERROR), compute_shares(parts)
    subjects = np.unique([part.subject for part in parts], return_inverse=True)[1]
    folds = np.repeat(subjects % _CEILING_FOLDS, [len(part.truth) for part in parts])
    predicted = np.zeros(len(rows))
    for fold in range(_CEILING_FOLDS):
        chosen, others = folds == fold, folds != fold
        if chosen.any() and others.any():
            weights = fit_log_std(
                rows[others],
                error[others],
                shares[others] / shares[others].sum(),
                ridge=_CEILING_RIDGE,
            )
            predicted[chosen] = rows[chosen] @ weights
    return predicted


def _expand_factors(parts: Sequence[ScoredFrames]) -> Float64Array:
    """Compute 1, the factors of both targets, the estimates, and all their products, (N, F)."""
    factors = [compute_factors(part.mean, part.spread, part.conditions) for part in parts]
    singles = np.concatenate(
        [
            np.concatenate([each[:, 1:].reshape(len(each), -1), part.mean], axis=1)
            for each, part in zip(factors, parts, strict=True)
        ]
    )
    singles = np.unique(singles, axis=1)
    singles = (singles - singles.mean(axis=0)) / np.maximum(singles.std(axis=0), _MIN_ERROR)
    first, second = np.triu_indices(singles.shape[1])
    ones = np.ones((len(singles), 1))
    return np.concatenate([ones, singles, singles[:, first] * singles[:, second]], axis=1)


def list_cells(figures: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """List the coverages of a group by name: observed, carried-on, rates and thirds."""
    cells = {"observed": figures["observed"]}
    if figures["carried_on"] is not None:
        cells["carried on"] = figures["carried_on"]
    cells |= {f"rate {rate}": pair for rate, pair in figures["by_rate"].items()}
    for by in ("estimate", "truth"):
        thirds = figures[f"thirds_by_{by}"]
        cells |= {f"{third} third by {by}": pair for third, pair in thirds.items()}
    return cells
