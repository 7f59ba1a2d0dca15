"""TCN: causality, receptive field, weight normalisation."""

from __future__ import annotations

import torch
from torch.nn import functional

from training.networks.tcn import CausalConvolution, Tcn, TcnConfig

CONFIG = TcnConfig(inputs=6, widths=(8, 8, 4, 4), kernel=5)


def test_outputs_do_not_depend_on_later_inputs() -> None:
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]  # untyped seed
    network = Tcn(CONFIG).eval()
    x = torch.randn(1, 80, 6)
    changed = x.clone()
    changed[:, 50:] = torch.randn(1, 30, 6)
    before, after = network(x), network(changed)
    assert torch.equal(before[:, :50], after[:, :50])
    assert not torch.equal(before[:, 50], after[:, 50])


def test_receptive_field_doubles_with_every_level() -> None:
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]  # untyped seed
    network = Tcn(CONFIG).eval()
    x = torch.randn(1, 200, 6, requires_grad=True)
    network(x)[0, -1].sum().backward()
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
