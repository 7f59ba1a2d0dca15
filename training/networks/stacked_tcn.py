"""Stacked TCNs: one layer of all folds as one matrix product.

The F folds are the first dimension, (F, B, T, C). The shared input of all folds has F = 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.networks.tcn import CausalConvolution, Tcn, TemporalBlock


class StackedLinear(nn.Module):
    """Linear layer of every fold, from (C', C) weights and (C',) biases."""

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> None:
        super().__init__()
        self.weight = make_constant_buffer(torch.stack(list(weights)).transpose(1, 2))
        self.bias = make_constant_buffer(torch.stack(list(biases)).unsqueeze(1))

    def forward(self, x: Tensor) -> Tensor:
        """(F, B, T, C) to (F, B, T, C')."""
        folds, batch, frames, _ = x.shape
        product = torch.baddbmm(self.bias, x.flatten(1, 2), self.weight)
        return product.view(folds, batch, frames, -1)


class StackedConvolution(nn.Module):
    """Causal convolution of every fold: shifted inputs concatenated, then one matrix product."""

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor], dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.kernel = weights[0].shape[2]
        self.product = StackedLinear([each.mT.flatten(1) for each in weights], biases)

    def forward(self, x: Tensor) -> Tensor:
        """(F, B, T, C) to (F, B, T, C')."""
        frames = x.shape[2]
        padded = functional.pad(x, (0, 0, (self.kernel - 1) * self.dilation, 0))
        shifted = [padded.narrow(2, k * self.dilation, frames) for k in range(self.kernel)]
        return self.product(torch.cat(shifted, dim=-1))


class SharedConvolution(nn.Module):
    """`StackedConvolution` of an input shared by all folds: one fold with all their channels."""

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor], dilation: int) -> None:
        super().__init__()
        self.folds = len(weights)
        self.whole = StackedConvolution(
            [torch.cat(list(weights))], [torch.cat(list(biases))], dilation
        )

    def forward(self, x: Tensor) -> Tensor:
        """(1, B, T, C) to (F, B, T, C')."""
        return self.whole(x).squeeze(0).unflatten(-1, (self.folds, -1)).permute(2, 0, 1, 3)


class StackedLevel(nn.Module):
    """`TemporalBlock` of every fold."""

    def __init__(
        self,
        levels: Sequence[TemporalBlock],
        convolution: type[StackedConvolution | SharedConvolution],
    ) -> None:
        super().__init__()
        self.first = _stack_convolutions([each.first for each in levels], convolution)
        self.second = _stack_convolutions([each.second for each in levels], StackedConvolution)
        self.activation = levels[0].activation
        self.residual: nn.Module = nn.Identity()
        narrowing = [each.residual for each in levels if isinstance(each.residual, nn.Conv1d)]
        if narrowing:
            self.residual = _stack_convolutions(narrowing, convolution)

    def forward(self, x: Tensor) -> Tensor:
        """(F, B, T, C) to (F, B, T, C')."""
        inner = self.activation(self.second(self.activation(self.first(x))))
        return self.activation(inner + self.residual(x))


class StackedTcn(nn.Module):
    """`Tcn` of every fold, in evaluation mode."""

    def __init__(self, tcns: Sequence[Tcn]) -> None:
        super().__init__()
        first, *others = zip(*(tcn.levels for tcn in tcns), strict=True)
        self.levels = nn.Sequential(
            StackedLevel(first, SharedConvolution),
            *(StackedLevel(each, StackedConvolution) for each in others),
        )
        norms = [_fold_batch_norm(tcn.norm) for tcn in tcns]
        self.scale = make_constant_buffer(torch.stack([scale for scale, _ in norms])[:, None, None])
        self.shift = make_constant_buffer(torch.stack([shift for _, shift in norms])[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (F, B, T, D')."""
        return torch.addcmul(self.shift, self.levels(x.unsqueeze(0)), self.scale)


def make_constant_buffer(value: Tensor) -> nn.Buffer:
    """Build a buffer for values derived from weights; it is not part of the state dict."""
    return nn.Buffer(value.detach().contiguous(), persistent=False)


def _stack_convolutions(
    layers: Sequence[CausalConvolution | nn.Conv1d],
    stacked: type[StackedConvolution | SharedConvolution],
) -> nn.Module:
    weights, biases, dilations = zip(*map(_read_kernel, layers), strict=True)
    return stacked(weights, biases, dilations[0])


def _read_kernel(layer: CausalConvolution | nn.Conv1d) -> tuple[Tensor, Tensor, int]:
    if isinstance(layer, CausalConvolution):
        return layer.weight(), layer.bias, layer.dilation
    assert layer.bias is not None
    return layer.weight, layer.bias, layer.dilation[0]


def _fold_batch_norm(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return scale, norm.bias - norm.running_mean * scale
