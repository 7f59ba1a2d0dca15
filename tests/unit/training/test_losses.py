"""Concordance loss, CCC and interval coverage, against naive formulas."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from training.losses import concordance_loss
from training.metrics import compute_scores, concordance_correlation, interval_coverage


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).tanh()


def naive_ccc(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    """Compute the CCC by the lineage's formula, frame by frame."""
    n = len(x)
    mean_x, mean_y = sum(x) / n, sum(y) / n
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / n
    variance_x = sum((a - mean_x) ** 2 for a in x) / n
    variance_y = sum((b - mean_y) ** 2 for b in y) / n
    return 2 * covariance / (variance_x + variance_y + (mean_x - mean_y) ** 2)


@pytest.mark.parametrize("frames", [1, 2, 3, 301])
def test_loss_of_identical_inputs_is_exactly_zero(frames: int) -> None:
    truth = draws(4, frames, 2)
    mask = torch.ones(4, frames, dtype=torch.bool)
    assert concordance_loss(truth, truth.clone(), mask).item() == 0.0
    assert (
        concordance_correlation(truth[..., 0].numpy().ravel(), truth[..., 0].numpy().ravel()) == 1.0
    )


def test_loss_and_gradient_of_a_correct_constant_are_zero() -> None:
    constant = torch.full((1, 9, 2), 0.3, requires_grad=True)
    mask = torch.ones(1, 9, dtype=torch.bool)
    loss = concordance_loss(constant, constant.detach().clone(), mask)
    [gradient] = torch.autograd.grad(loss, constant)
    assert loss.item() == 0.0
    assert torch.equal(torch.zeros_like(constant), gradient)


def test_the_loss_is_one_minus_ccc_for_each_target_summed() -> None:
    estimate, truth = draws(3, 50, 2), draws(3, 50, 2, seed=1)
    mask = draws(3, 50, seed=2) > 0
    x, y = estimate[mask].double().numpy(), truth[mask].double().numpy()
    expected = sum(1 - naive_ccc(x[:, target], y[:, target]) for target in range(2))
    # single precision of sums over 75 numbers below 1
    assert concordance_loss(estimate, truth, mask).item() == pytest.approx(expected, abs=1e-6)
    scores = compute_scores(x, y)
    assert 2 - scores.valence - scores.arousal == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("masked_value", [9.0, float("nan"), float("inf")])
def test_masked_frames_have_no_influence_on_loss_or_gradient(masked_value: float) -> None:
    estimate, truth = draws(2, 30, 2).requires_grad_(), draws(2, 30, 2, seed=1)
    mask = torch.ones(2, 30, dtype=torch.bool)
    mask[0, 5:20] = False
    unaltered = concordance_loss(estimate, truth, mask)
    truth[~mask] = masked_value
    altered = concordance_loss(estimate, truth, mask)
    [gradient] = torch.autograd.grad(altered, estimate)
    assert torch.equal(unaltered, altered)
    assert gradient.isfinite().all()
    assert torch.equal(gradient[~mask], torch.zeros_like(gradient[~mask]))


def test_the_loss_of_the_worst_estimate_is_two_per_target() -> None:
    truth = draws(1, 400, 2)
    truth = truth - truth.mean(dim=1, keepdim=True)
    mask = torch.ones(1, 400, dtype=torch.bool)
    # single precision
    assert concordance_loss(-truth, truth, mask).item() == pytest.approx(4.0, abs=1e-5)


def test_coverage_is_the_share_of_truths_in_the_interval() -> None:
    truth = np.array([[0.0, 0.0], [1.0, 0.5], [2.0, 3.0], [1.6, 1.7]])
    ones = np.ones_like(truth)
    assert interval_coverage(np.zeros_like(truth), ones, truth).as_dict() == {
        "valence": 0.75,
        "arousal": 0.5,
        "mean": 0.625,
    }
