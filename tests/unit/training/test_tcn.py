"""TCN: causality, receptive field, weight normalisation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from training.networks.tcn import CausalConvolution, Tcn, TcnConfig

CONFIG = TcnConfig(inputs=6, widths=(8, 8, 4, 4), kernel=5)


def test_outputs_do_not_depend_on_later_inputs() -> None:
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]  # untyped seed
    network = Tcn(CONFIG).eval()
    x = torch.randn(1, 80, 6)
    changed = x.clone()
    changed[:, 50:] = torch.randn(1, 30, 6)
    everywhere = torch.ones(1, 80, dtype=torch.bool)
    before, after = network(x, everywhere), network(changed, everywhere)
    assert torch.equal(before[:, :50], after[:, :50])
    assert not torch.equal(before[:, 50], after[:, 50])


def test_receptive_field_doubles_with_every_level() -> None:
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]  # untyped seed
    network = Tcn(CONFIG).eval()
    x = torch.randn(1, 200, 6, requires_grad=True)
    network(x, torch.ones(1, 200, dtype=torch.bool))[0, -1].sum().backward()
    assert x.grad is not None
    reached = x.grad.abs().sum(dim=-1)[0].nonzero()
    # two convolutions a level, kernel 5, dilations 1, 2, 4, 8
    assert 199 - int(reached.min()) == 2 * 4 * (1 + 2 + 4 + 8)


def test_left_padding_equals_padding_both_sides_and_cutting_the_right() -> None:
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]  # untyped seed
    layer = CausalConvolution(3, 4, kernel=5, dilation=2)
    x = torch.randn(2, 3, 40)
    norm = layer.weight_v.square().sum(dim=(1, 2), keepdim=True).sqrt()
    weight = layer.weight_g * layer.weight_v / norm
    expected = functional.conv1d(x, weight, layer.bias, padding=8, dilation=2)[:, :, :-8]
    # float32, sums of 15 terms of order 1, taken in another order
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-6)


def test_only_the_gain_sets_the_norm_of_a_kernel() -> None:
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]  # untyped seed
    layer = CausalConvolution(3, 4, kernel=5, dilation=1)
    x = torch.randn(2, 3, 40)
    before = layer(x)
    with torch.no_grad():
        layer.weight_v.mul_(8.0)
    torch.testing.assert_close(layer(x), before, rtol=0, atol=1e-6)


def seed_network() -> Tcn:
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]  # untyped seed
    return Tcn(TcnConfig(inputs=6, widths=(8, 4), kernel=3, dropout=0.0)).train()


def read_statistics(network: Tcn) -> tuple[Tensor, Tensor, int]:
    norm = network.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    return norm.running_mean, norm.running_var, int(norm.num_batches_tracked)


@pytest.mark.parametrize("lengths", [(50, 50), (50, 7), (1, 50), (50, 0), (2, 0)])
def test_batch_statistics_are_those_of_the_data_without_padding(lengths: tuple[int, int]) -> None:
    network, plain = seed_network(), seed_network()
    windows = [torch.randn(1, length, 6) + 3.0 for length in lengths]
    padded = torch.cat([functional.pad(each, (0, 0, 0, 50 - each.shape[1])) for each in windows])
    mask = torch.arange(50) < torch.tensor(lengths)[:, None]
    output = network(padded, mask)
    frames = torch.cat([plain.levels(each.mT)[0].T for each in windows if each.shape[1]])
    expected = plain.norm(frames)
    mean, variance, batches = read_statistics(network)
    # the momentum of one batch, and a variance without bias
    torch.testing.assert_close(mean, 0.1 * frames.mean(dim=0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(variance, 0.9 + 0.1 * frames.var(dim=0), rtol=1e-5, atol=1e-6)
    assert batches == 1
    torch.testing.assert_close(output[mask], expected, rtol=1e-5, atol=1e-5)
    assert (output[~mask] == 0).all()


def test_frames_before_the_first_face_are_not_in_the_statistics() -> None:
    network, plain = seed_network(), seed_network()
    x = torch.randn(2, 30, 6)
    mask = torch.ones(2, 30, dtype=torch.bool)
    mask[1, :12] = False
    network(x, mask)
    frames = plain.levels(x.mT).mT[mask]
    torch.testing.assert_close(
        read_statistics(network)[0], 0.1 * frames.mean(dim=0), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("frames", [0, 1])
def test_batch_without_two_frames_leaves_the_statistics(frames: int) -> None:
    network = seed_network()
    mask = torch.arange(20)[None] < frames
    output = network(torch.randn(1, 20, 6), mask)
    output.sum().backward()
    mean, variance, batches = read_statistics(network)
    assert torch.equal(mean, torch.zeros(4))
    assert torch.equal(variance, torch.ones(4))
    assert batches == 0
    assert output.isfinite().all()


def test_mask_has_no_influence_in_evaluation() -> None:
    network = seed_network()
    network(torch.randn(4, 30, 6), torch.ones(4, 30, dtype=torch.bool))
    x, mask = torch.randn(2, 30, 6), torch.arange(30) < torch.tensor([[30], [9]])
    network.eval()
    assert torch.equal(network(x, mask), network.norm(network.levels(x.mT)).mT)
