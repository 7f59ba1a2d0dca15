"""Choice of a head's smoothing, penalty and gain, by cross-validation over cells of people.

A cell is a set of people; no person and no source video is in two. Smoothing and a linear map can
be exchanged, so that the map is fitted to smoothed features; only the clipping of estimates to
[-1, 1], which is rare, is left out of the choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from service.domain.array_types import Float64Array
from training.head_fitting.ridge import RIDGES, FrameMoments, RidgeRegression

_MAX_GAIN: Final = 4.0

MomentsBySigma = Mapping[float, Mapping[int, FrameMoments]]
"""Moments of every cell that has frames, by the smoothing of the features in seconds."""


class Objective(StrEnum):
    """Figure that a head is fitted for.

    ccc: concordance; estimates are stretched until they vary as the annotations do. rmse: the mean
    squared error; estimates keep to the middle where the features say little.
    """

    CCC = "ccc"
    RMSE = "rmse"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearHead:
    """A linear map of K features and the smoothing of its estimates.

    coefficients: (K + 1, 2), the intercepts first. ridges, gains: chosen for (valence, arousal).
    """

    coefficients: Float64Array
    smoothing_seconds: float
    ridges: tuple[float, float]
    gains: tuple[float, float]

    def estimate(self, features: Float64Array) -> Float64Array:
        """Estimate (T, K) features, (T, 2) in [-1, 1], not smoothed."""
        return np.clip(features @ self.coefficients[1:] + self.coefficients[0], -1.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Choice:
    """Penalties and gains chosen for one smoothing, and their scores; (2,) each."""

    scores: Float64Array
    ridges: Float64Array
    gains: Float64Array


def fit_head(moments: MomentsBySigma, objective: Objective) -> LinearHead:
    """Fit a head on two or more cells; the least smoothing wins a draw."""
    choices = {sigma: _choose([*cells.values()], objective) for sigma, cells in moments.items()}
    sigma = max(choices, key=lambda each: float(choices[each].scores.mean()))
    choice = choices[sigma]
    regression = RidgeRegression(FrameMoments.total(moments[sigma].values()))
    solved = [regression.solve(ridge)[:, target] for target, ridge in enumerate(choice.ridges)]
    return LinearHead(
        coefficients=regression.stretch(np.stack(solved, axis=1), choice.gains),
        smoothing_seconds=sigma,
        ridges=(float(choice.ridges[0]), float(choice.ridges[1])),
        gains=(float(choice.gains[0]), float(choice.gains[1])),
    )


def _choose(cells: Sequence[FrameMoments], objective: Objective) -> _Choice:
    """Choose the penalty of each target by its score on the cell that was left out, all cells."""
    regressions = [
        RidgeRegression(FrameMoments.total(other for other in cells if other is not cell))
        for cell in cells
    ]
    scores: list[Float64Array] = []
    gains: list[Float64Array] = []
    for ridge in RIDGES:
        compared = [
            cell.compare(each.solve(ridge)) for cell, each in zip(cells, regressions, strict=True)
        ]
        score, gain = _score(np.sum(compared, axis=0), objective)
        scores.append(score)
        gains.append(gain)
    best = np.argmax(scores, axis=0)
    targets = np.arange(len(best))
    return _Choice(
        scores=np.array(scores)[best, targets],
        ridges=np.array(RIDGES)[best],
        gains=np.array(gains)[best, targets],
    )


def _score(sums: Float64Array, objective: Objective) -> tuple[Float64Array, Float64Array]:
    """Return the scores of (2, 6) sums with their best gains, (2,) each."""
    x, y, xx, yy, xy = (sums[:, place] / sums[:, 0] for place in range(1, 6))
    if objective is Objective.RMSE:
        return -(xx - 2 * xy + yy), np.ones(len(sums))
    estimate, truth = np.maximum(xx - x * x, 0.0), np.maximum(yy - y * y, 0.0)
    ratio = np.divide(truth, estimate, out=np.ones_like(truth), where=estimate > 0)
    gains = np.clip(np.sqrt(ratio), 1.0, _MAX_GAIN)
    extent = np.square(gains) * estimate + truth
    common = 2 * gains * (xy - x * y)
    return np.divide(common, extent, out=np.zeros_like(extent), where=extent > 0), gains
