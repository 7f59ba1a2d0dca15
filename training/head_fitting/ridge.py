"""Ridge regression from sums over frames, so that any set of people is fitted without their frames.

Features are taken by their standard deviation, so that one penalty means the same for all; the
intercept has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from service.domain.array_types import Float64Array
from service.domain.model_signatures import TARGETS

RIDGES: Final = (100.0, 10.0, 1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5)
"""Penalties that are tried, as shares of a feature's variance."""
_MIN_DEVIATION: Final = 1e-7
"""Standard deviation below which a feature is constant and gets no weight."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameMoments:
    """Sums over frames of the products of the columns 1, K features, valence and arousal.

    sums: (K + 3, K + 3).
    """

    sums: Float64Array

    @classmethod
    def measure(cls, features: Float64Array, targets: Float64Array) -> FrameMoments:
        """Sum over N frames of (N, K) features and (N, 2) targets."""
        columns = np.concatenate([np.ones((len(features), 1)), features, targets], axis=1)
        return cls(sums=columns.T @ columns)

    @classmethod
    def total(cls, parts: Iterable[FrameMoments]) -> FrameMoments:
        """Add the sums of several sets of frames, at least one."""
        return cls(sums=np.sum([part.sums for part in parts], axis=0))

    @property
    def frames(self) -> int:
        """Number of frames."""
        return round(float(self.sums[0, 0]))

    def compare(self, coefficients: Float64Array) -> Float64Array:
        """Compare the (K + 1, 2) linear estimate with the truth: sums of count, x, y, xx, yy, xy.

        Returns: (2, 6), a row for each target, as in `person_metrics.PersonSums`.
        """
        size = len(coefficients)
        inputs, truth = self.sums[:size, :size], self.sums[:size, size:]
        squares = np.diag(self.sums)[size:]
        columns = (
            np.full(len(TARGETS), self.sums[0, 0]),
            inputs[0] @ coefficients,
            truth[0],
            np.einsum("kt,kl,lt->t", coefficients, inputs, coefficients),
            squares,
            np.einsum("kt,kt->t", coefficients, truth),
        )
        return np.stack(columns, axis=-1)


class RidgeRegression:
    """Linear maps from features to valence and arousal, for any penalty."""

    def __init__(self, moments: FrameMoments) -> None:
        size = len(moments.sums) - len(TARGETS)
        mean = moments.sums[0] / moments.sums[0, 0]
        covariance = moments.sums / moments.sums[0, 0] - np.outer(mean, mean)
        deviation = np.sqrt(np.maximum(np.diag(covariance)[1:size], 0.0))
        varies = deviation > _MIN_DEVIATION
        self._scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
        self._mean, self._target_mean = mean[1:size], mean[size:]
        scaled = covariance[1:size, 1:size] * np.outer(self._scale, self._scale)
        values, self._axes = np.linalg.eigh(scaled)
        self._variances = np.maximum(values, 0.0)
        self._rotated = self._axes.T @ (covariance[1:size, size:] * self._scale[:, None])

    def solve(self, ridge: float) -> Float64Array:
        """Solve for a penalty: (K + 1, 2), the intercepts first."""
        slopes = self._axes @ (self._rotated / (self._variances + ridge)[:, None])
        slopes *= self._scale[:, None]
        return np.concatenate([(self._target_mean - self._mean @ slopes)[None], slopes])

    def stretch(self, coefficients: Float64Array, gains: Float64Array) -> Float64Array:
        """Multiply the deviations of a (K + 1, 2) map from its mean by the (2,) gains."""
        slopes = coefficients[1:] * gains
        return np.concatenate([(self._target_mean - self._mean @ slopes)[None], slopes])
