"""Fusion network and fold ensemble: masks, padding, mean and spread, sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from training.networks.fusion import FoldEnsemble, FoldNetwork
from training.networks.tcn import TemporalBlock
from training.presets import MINI, PAPER, build_networks


@pytest.fixture(scope="module")
def ensemble() -> FoldEnsemble:
    return build_networks(MINI, seed=0).fusion


def window(frames: int = 60) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    visual = torch.randn(1, frames, 512, generator=generator)
    audio = torch.randn(1, frames, 128, generator=generator)
    return visual, audio, torch.ones(1, frames, dtype=torch.bool)


@pytest.mark.parametrize("poison", [7.0, float("nan"), float("inf")])
@torch.inference_mode()
def test_values_of_masked_frames_have_no_influence(ensemble: FoldEnsemble, poison: float) -> None:
    visual, audio, mask = window()
    mask[0, 20:25] = mask[0, 50:] = False
    expected, _ = ensemble(visual, audio, mask)
    visual[~mask], audio[~mask] = poison, poison
    actual, _ = ensemble(visual, audio, mask)
    assert torch.equal(expected, actual)


@torch.inference_mode()
def test_padding_does_not_change_the_frames_before_it(ensemble: FoldEnsemble) -> None:
    visual, audio, mask = window(60)
    mask[0, 45:] = False
    padded, _ = ensemble(visual, audio, mask)
    cut, _ = ensemble(visual[:, :45], audio[:, :45], mask[:, :45])
    # the same sums, over matrices of another size
    torch.testing.assert_close(padded[:, :45], cut, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_a_window_without_any_frame_is_finite(ensemble: FoldEnsemble) -> None:
    visual, audio, mask = window()
    mean, spread = ensemble(visual, audio, ~mask)
    assert mean.isfinite().all()
    assert spread.isfinite().all()


@torch.inference_mode()
def test_the_output_is_the_mean_and_biased_deviation_of_six_folds(ensemble: FoldEnsemble) -> None:
    visual, audio, mask = window()
    mean, spread = ensemble(visual, audio, mask)
    each = np.stack([fold(visual, audio, mask).double().numpy() for fold in ensemble.folds])
    assert len(each) == 6
    # float32 against float64 of numbers below 1
    np.testing.assert_allclose(mean.numpy(), each.mean(axis=0), rtol=0, atol=1e-6)
    np.testing.assert_allclose(spread.numpy(), each.std(axis=0), rtol=0, atol=1e-6)
    assert spread.min() > 0


@torch.inference_mode()
def test_a_fold_is_stored_and_loaded_separately(ensemble: FoldEnsemble) -> None:
    visual, audio, mask = window()
    alone = FoldNetwork(MINI.fusion).eval()
    alone.load_state_dict(ensemble.folds[3].state_dict())
    assert torch.equal(ensemble.folds[3](visual, audio, mask), alone(visual, audio, mask))


def test_paper_fold_has_the_published_layer_sizes() -> None:
    with torch.device("meta"):
        fold = FoldNetwork(PAPER.fusion)
    assert fold.encoder.entry.in_features == 192
    assert fold.encoder.entry.out_features == 128
    assert (len(fold.encoder.layers), len(fold.visual.levels)) == (4, 4)
    first_level = fold.visual.levels[0]
    assert isinstance(first_level, TemporalBlock)
    assert [first_level.first.weight_v.shape[2]] * 2 == [5, 5]
