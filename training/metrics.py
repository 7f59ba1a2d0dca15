"""Evaluation metrics in double precision: concordance and interval coverage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from training.data.errors import NoAnnotatedFrames

NORMAL_90_QUANTILE: Final = 1.6448536269514722
"""Half width, in standard deviations, of the central 90 % interval of a normal distribution."""

Values = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """One value for each target."""

    valence: float
    arousal: float

    @property
    def mean(self) -> float:
        """Mean of valence and arousal, the challenge's ranking metric."""
        return (self.valence + self.arousal) / 2

    def as_dict(self) -> dict[str, float]:
        """Return valence, arousal and their mean."""
        return {"valence": self.valence, "arousal": self.arousal, "mean": self.mean}


def concordance_correlation(estimate: Values, truth: Values) -> float:
    """Compute CCC = 2 cov / (var x + var y + (mean x - mean y)^2) with biased estimators.

    Inputs are (N,) each, N >= 1. Two equal constants have a CCC of 1.
    """
    x, y = estimate.astype(np.float64), truth.astype(np.float64)
    extent = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    return 1.0 if extent == 0 else float(1 - np.mean((x - y) ** 2) / extent)


def compute_scores(estimate: Values, truth: Values) -> Scores:
    """Compute the CCC of (N, 2) estimates with their (N, 2) truth, all videos concatenated.

    Raises: NoAnnotatedFrames: N is 0.
    """
    if not len(truth):
        raise NoAnnotatedFrames("no frame to score")
    valence, arousal = (concordance_correlation(estimate[:, t], truth[:, t]) for t in range(2))
    return Scores(valence=valence, arousal=arousal)


def compute_scores_of_recordings(estimates: Sequence[Values], truths: Sequence[Values]) -> Scores:
    """Compute the CCC over the concatenated recordings, (T, 2) each."""
    nothing = np.zeros((0, 2))
    return compute_scores(np.concatenate([nothing, *estimates]), np.concatenate([nothing, *truths]))


def interval_coverage(estimate: Values, spread: Values, truth: Values) -> Scores:
    """Compute the share of truths within estimate +- 1.645 spread, (N, 2) each."""
    inside = np.abs(truth - estimate) <= NORMAL_90_QUANTILE * spread
    valence, arousal = inside.mean(axis=0).tolist()
    return Scores(valence=valence, arousal=arousal)
