"""What training minimises: one minus the concordance of estimate and truth, for each target."""

from __future__ import annotations

from typing import Final

from torch import Tensor

_MIN_DENOMINATOR: Final = 1e-12
"""Keeps 0 / 0 (estimate and truth the same constant) at loss 0, with a gradient of 0."""


def concordance_loss(estimate: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Sum over the targets of 1 - CCC over every frame of the mask, biased estimators throughout.

    1 - CCC = mean((x - y)^2) / (var x + var y + (mean x - mean y)^2): the same number as with the
    covariance, and exactly 0 for identical inputs.

    Args: estimate, truth: (..., D); mask: (...,) bool, True where a frame counts. What stands
        in the other frames, NaN included, has no influence. At least one frame must count.
    Returns: (), in [0, 2 D].
    Source: paper.md, loss [L], estimator fixed.
    """
    x, y = estimate[mask].float(), truth[mask].float()
    mean_difference = x.mean(dim=0) - y.mean(dim=0)
    denominator = x.var(dim=0, correction=0) + y.var(dim=0, correction=0) + mean_difference.square()
    return ((x - y).square().mean(dim=0) / denominator.clamp(min=_MIN_DENOMINATOR)).sum()
