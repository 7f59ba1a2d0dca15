"""Fit of the uncertainty: weights of its factors by the likelihood of errors on unseen people.

Every subject counts alike; half of it is the recording as it is, half the other scenarios. The
errors are taken as normal with the standard deviation of the model; the likelihood is concave in
the weights. Then the size is set so that 90 % of the errors lie within 1.645 standard deviations.
The weight of `extremity` balances the coverage of thirds of the estimate with that of thirds of the
truth, which pull it apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from service.domain.array_types import BoolArray, Float64Array
from service.domain.uncertainty import (
    FACTORS,
    RISING_FACTORS,
    StdMeaning,
    UncertaintyModel,
    compute_factors,
)
from training.evaluation.conditions import FINAL_SCENARIOS, Scenario, ScoredFrames
from training.metrics import NORMAL_90_QUANTILE, Values

COVERAGE: Final = 0.9
_SCENARIO_WEIGHTS: Final = {Scenario.AS_RECORDED: len(FINAL_SCENARIOS) - 1.0}
_RIDGE_SUBJECTS: Final = 0.05
"""Ridge of the weights, divided by the number of subjects."""
_MAX_ITERATIONS: Final = 100
_MAX_STEP: Final = 1.0
_MIN_STEP: Final = 1e-7
_MIN_CURVATURE: Final = 1e-9
_MAX_EXPONENT: Final = 40.0
_MIN_ERROR: Final = 1e-6
_EXTREMITY: Final = FACTORS.index("extremity")
_RISING: Final = frozenset(FACTORS.index(name) for name in RISING_FACTORS)
_EXTREMITY_WEIGHTS: Final = tuple(-0.1 * step for step in range(16))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _TargetErrors:
    """Frames of one target.

    factors: (N, F). errors: (N,), absolute. shares: (N,), of each frame in the whole, sum 1.
    thirds: (12, N), by estimate and by truth, of all frames and of those as recorded. ridge: of the
    weights.
    """

    factors: Float64Array
    errors: Float64Array
    shares: Float64Array
    thirds: BoolArray
    ridge: float


def fit_uncertainty(parts: Sequence[ScoredFrames], model: UncertaintyModel) -> UncertaintyModel:
    """Fit the weights of a model to the frames of all scenarios; its silence is kept.

    At least one frame of a final scenario is needed.
    """
    final = [part for part in parts if part.scenario is not Scenario.PROVISIONAL]
    provisional = [part for part in parts if part.scenario is Scenario.PROVISIONAL]
    weights = np.stack([_fit_target(_collect(final, target)) for target in range(2)])
    shift = [_fit_shift(_collect(provisional, t), weights[t]) for t in range(2)]
    return replace(
        model,
        meaning=StdMeaning.CALIBRATED,
        weights={
            name: (float(valence), float(arousal))
            for name, (valence, arousal) in zip(FACTORS, weights.T, strict=True)
        },
        provisional=(shift[0], shift[1]),
        frames=sum(len(p.truth) for p in parts if p.scenario is Scenario.AS_RECORDED),
        subjects=len({part.subject for part in parts}),
    )


def weighted_quantile(values: Values, shares: Values, quantile: float) -> float:
    """Return the smallest value below or at which lies this part of the shares."""
    order = np.argsort(values)
    total = np.cumsum(shares[order])
    place = int(np.argmax(total >= quantile * total[-1]))
    return float(values[order][place])


def compute_shares(parts: Sequence[ScoredFrames]) -> Float64Array:
    """Compute the shares of all frames, (N,), sum 1.

    Subjects count alike; of a subject the recording as it is counts half, where it is among them.
    """
    weights = [_SCENARIO_WEIGHTS.get(part.scenario, 1.0) for part in parts]
    totals: dict[str, float] = {}
    for part, weight in zip(parts, weights, strict=True):
        totals[part.subject] = totals.get(part.subject, 0.0) + weight * len(part.truth)
    shares = [
        np.full(len(part.truth), weight / (totals[part.subject] * len(totals)))
        for part, weight in zip(parts, weights, strict=True)
    ]
    return np.concatenate(shares)


def split_thirds(values: Values, rows: BoolArray) -> BoolArray:
    """Return a (3, N) mask of the lowest, middle and highest third of some of the rows."""
    low, high = np.quantile(values[rows], [1 / 3, 2 / 3]) if rows.any() else (0.0, 0.0)
    thirds = (values <= low, (values > low) & (values <= high), values > high)
    return np.stack([third & rows for third in thirds])


def _collect(parts: Sequence[ScoredFrames], target: int) -> _TargetErrors:
    if not parts:
        nothing = np.zeros(0)
        return _TargetErrors(
            factors=np.zeros((0, len(FACTORS))),
            errors=nothing,
            shares=nothing,
            thirds=np.zeros((12, 0), np.bool_),
            ridge=0.0,
        )
    mean = np.concatenate([part.mean[:, target] for part in parts]).astype(np.float64)
    truth = np.concatenate([part.truth[:, target] for part in parts]).astype(np.float64)
    factors = [compute_factors(part.mean, part.spread, part.conditions) for part in parts]
    is_plain = np.repeat(
        [part.scenario is Scenario.AS_RECORDED for part in parts],
        [len(part.truth) for part in parts],
    )
    groups = (np.ones(len(mean), np.bool_), is_plain)
    return _TargetErrors(
        factors=np.concatenate(factors)[:, :, target],
        errors=np.maximum(np.abs(mean - truth), _MIN_ERROR),
        shares=compute_shares(parts),
        thirds=np.concatenate(
            [split_thirds(each, rows) for rows in groups for each in (mean, truth)]
        ),
        ridge=_RIDGE_SUBJECTS / len({part.subject for part in parts}),
    )


def _fit_target(data: _TargetErrors) -> Float64Array:
    """Fit the weights of one target, (F,), for the extremity that covers thirds most evenly."""
    fits = [_fit_size(data, _fit_rising(data, weight)) for weight in _EXTREMITY_WEIGHTS]
    return min(fits, key=lambda weights: _compute_imbalance(data, weights))


def _fit_rising(data: _TargetErrors, extremity: float) -> Float64Array:
    """Fit without factors that would make an estimate more certain as they rise."""
    free = [place for place in range(len(FACTORS)) if place != _EXTREMITY]
    while True:
        weights = _fit_free(data, free, extremity)
        falling = [place for place in free if place in _RISING and weights[place] < 0]
        if not falling:
            return weights
        free = [place for place in free if place not in falling]


def _fit_free(data: _TargetErrors, free: Sequence[int], extremity: float) -> Float64Array:
    weights = np.zeros(len(FACTORS))
    weights[_EXTREMITY] = extremity
    weights[list(free)] = fit_log_std(
        data.factors[:, list(free)],
        data.errors * np.exp(-extremity * data.factors[:, _EXTREMITY]),
        data.shares,
        ridge=data.ridge,
    )
    return weights


def fit_log_std(
    factors: Float64Array, errors: Float64Array, shares: Float64Array, *, ridge: float
) -> Float64Array:
    """Minimise the mean of log std + error^2 / (2 std^2) with log std = factors @ weights.

    By Newton's method. Args: factors: (N, F), the first is 1; errors: (N,), positive; shares: (N,)
    with sum 1; ridge: of all weights but the first. Returns: (F,).
    """
    weights = np.zeros(factors.shape[1])
    weights[0] = 0.5 * np.log(np.sum(shares * errors**2))
    penalty = np.full(len(weights), ridge)
    penalty[0] = 0.0
    for _ in range(_MAX_ITERATIONS):
        exponent = np.clip(-2 * (factors @ weights), -_MAX_EXPONENT, _MAX_EXPONENT)
        ratio = shares * errors**2 * np.exp(exponent)
        gradient = factors.T @ (shares - ratio) + penalty * weights
        hessian = (factors * (2 * ratio)[:, None]).T @ factors + np.diag(penalty + _MIN_CURVATURE)
        step = np.linalg.solve(hessian, gradient)
        step *= min(1.0, _MAX_STEP / max(float(np.abs(step).max()), _MIN_STEP))
        weights -= step
        if np.abs(step).max() < _MIN_STEP:
            break
    return weights


def _fit_size(data: _TargetErrors, weights: Float64Array) -> Float64Array:
    sized = weights.copy()
    sized[0] += _fit_shift(data, weights)
    return sized


def _fit_shift(data: _TargetErrors, weights: Float64Array) -> float:
    """Fit what has to be added to the logarithm, so that the interval covers 90 %."""
    if not len(data.errors):
        return 0.0
    ratios = data.errors / np.exp(data.factors @ weights)
    return float(np.log(weighted_quantile(ratios, data.shares, COVERAGE) / NORMAL_90_QUANTILE))


def _compute_imbalance(data: _TargetErrors, weights: Float64Array) -> float:
    """Compute the largest deviation from 90 % among the thirds by estimate and by truth."""
    is_inside = data.errors <= NORMAL_90_QUANTILE * np.exp(data.factors @ weights)
    return max(
        abs(float(np.average(is_inside[third], weights=data.shares[third])) - COVERAGE)
        for third in data.thirds
        if third.any()
    )
