"""Stacked folds, against the folds one after another."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from training.networks.fusion import FoldEnsemble
from training.networks.stacked_folds import FoldStack
from training.presets import PRESETS, build_networks

ROUNDING = 1e-5
"""The same float32 sums in another order."""


@pytest.fixture(scope="module", params=list(PRESETS))
def ensemble(request: pytest.FixtureRequest) -> FoldEnsemble:
    """Folds with different weights and different batch norm statistics."""
    folds = build_networks(PRESETS[request.param], seed=0).fusion
    generator = torch.Generator().manual_seed(0)
    for module in folds.modules():
        if isinstance(module, nn.BatchNorm1d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0.0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
        if isinstance(module, nn.BatchNorm1d | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.7, 1.4, generator=generator)
            nn.init.normal_(module.bias, 0.0, 0.1, generator=generator)
    return folds


def windows(batch: int, frames: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(batch * frames)
    visual = torch.randn(batch, frames, 512, generator=generator)
    audio = torch.randn(batch, frames, 128, generator=generator)
    mask = torch.rand(batch, frames, generator=generator) < 0.8
    mask[-1, : frames // 2] = False
    return visual, audio, mask


@pytest.mark.parametrize(("batch", "frames"), [(1, 1), (1, 100), (3, 64)])
@torch.inference_mode()
def test_stacked_folds_match_sequential_folds(
    ensemble: FoldEnsemble, batch: int, frames: int
) -> None:
    visual, audio, mask = windows(batch, frames)
    expected = ensemble(visual, audio, mask)
    visual[~mask] = float("nan")
    actual = FoldStack(ensemble)(visual, audio, mask)
    # values of masked frames are meaningless
    assert mask.any() or frames == 1
    for before, now in zip(expected, actual, strict=True):
        assert now.shape == before.shape
        torch.testing.assert_close(now[mask], before[mask], rtol=0, atol=ROUNDING)


@torch.inference_mode()
def test_windows_without_any_frame_are_finite(ensemble: FoldEnsemble) -> None:
    visual, audio, mask = windows(2, 64)
    outputs = FoldStack(ensemble)(visual, audio, mask & False)
    assert all(output.isfinite().all() for output in outputs)


def test_stacked_weights_are_in_no_state_dict(ensemble: FoldEnsemble) -> None:
    stack = FoldStack(ensemble)
    assert not stack.state_dict()
    assert not list(stack.parameters())
