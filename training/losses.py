"""Training loss: one minus the concordance correlation coefficient, summed over the targets."""

from __future__ import annotations

from typing import Final

from torch import Tensor

_MIN_DENOMINATOR: Final = 1e-12
"""Makes 0 / 0 (estimate and truth the same constant) a loss of 0 with a gradient of 0."""


def concordance_loss(estimate: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Compute the sum over the targets of 1 - CCC, over the frames of the mask.

    1 - CCC = mean((x - y)^2) / (var x + var y + (mean x - mean y)^2) with biased estimators: equal
    to the formula with the covariance, and exactly 0 for identical inputs.

    Args:
        estimate: (..., D).
        truth: (..., D).
        mask: (...,) bool, True where a frame counts; at least one must. The values of the other
            frames, NaN included, have no influence.
    Returns: (), in [0, 2 D].
    Source: loss [L], estimator fixed.

    """
    x, y = estimate[mask].float(), truth[mask].float()
    mean_difference = x.mean(dim=0) - y.mean(dim=0)
    denominator = x.var(dim=0, correction=0) + y.var(dim=0, correction=0) + mean_difference.square()
    return ((x - y).square().mean(dim=0) / denominator.clamp(min=_MIN_DENOMINATOR)).sum()
