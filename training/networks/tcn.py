"""Temporal convolutional network: causal, with a reach that doubles from level to level."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True, kw_only=True)
class TcnConfig:
    """Sizes of one modality's TCN; the defaults are the visual one [L]."""

    inputs: int = 512
    widths: tuple[int, ...] = (256, 256, 128, 128)
    kernel: int = 5
    dropout: float = 0.1

    @property
    def outputs(self) -> int:
        """Output features per frame."""
        return self.widths[-1]


class CausalConvolution(nn.Module):
    """Weight-normalised dilated convolution whose output at t depends on inputs up to t.

    Padding on the left only equals padding both sides and cutting off the right.
    The weight is g v / |v|, with the norm of each output channel.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.reach = (kernel - 1) * dilation
        self.weight_g = nn.Parameter(torch.ones(outputs, 1, 1))
        self.weight_v = nn.Parameter(torch.empty(outputs, inputs, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.kaiming_normal_(self.weight_v)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) to (B, C', T)."""
        padded = functional.pad(x, (self.reach, 0))
        return functional.conv1d(padded, self.weight(), self.bias, dilation=self.dilation)

    def weight(self) -> Tensor:
        """Return the normalised weight, (C', C, K)."""
        norm = self.weight_v.pow(2).sum(dim=(1, 2), keepdim=True).sqrt()
        return self.weight_g * self.weight_v / norm


class TemporalBlock(nn.Module):
    """Two causal convolutions with a residual connection, 1x1 where the widths differ."""

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int, dilation: int, dropout: float
    ) -> None:
        super().__init__()
        self.first = CausalConvolution(inputs, outputs, kernel, dilation)
        self.second = CausalConvolution(outputs, outputs, kernel, dilation)
        self.activation = nn.LeakyReLU()
        self.dropout = nn.Dropout(dropout)
        self.residual: nn.Module = nn.Identity()
        if inputs != outputs:
            self.residual = nn.Conv1d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) to (B, C', T)."""
        inner = self.dropout(self.activation(self.first(x)))
        inner = self.dropout(self.activation(self.second(inner)))
        return self.activation(inner + self.residual(x))


class Tcn(nn.Module):
    """TCN of one modality; level i has dilation 2^i [S], BatchNorm comes after [L]."""

    def __init__(self, config: TcnConfig) -> None:
        super().__init__()
        inputs = (config.inputs, *config.widths[:-1])
        self.levels = nn.Sequential(
            *(
                TemporalBlock(
                    *pair, kernel=config.kernel, dilation=2**depth, dropout=config.dropout
                )
                for depth, pair in enumerate(zip(inputs, config.widths, strict=True))
            )
        )
        self.norm = nn.BatchNorm1d(config.outputs)
        self.min_frames = 2

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) and (B, T) bool, True where a frame exists, to (B, T, D')."""
        features = self.levels(x.transpose(1, 2))
        if self.training:
            return self._normalise_existing(features.transpose(1, 2), mask)
        return self.norm(features).transpose(1, 2)

    def _normalise_existing(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Normalise (B, T, D') by the statistics of the frames that exist; the others become 0.

        Padding and frames before the first face are no data. With fewer than two frames there are
        no statistics: those of earlier batches are used, and stay.
        """
        existing = frames[mask]
        if existing.shape[0] < self.min_frames:
            normed = functional.batch_norm(
                existing,
                self.norm.running_mean,
                self.norm.running_var,
                self.norm.weight,
                self.norm.bias,
                eps=self.norm.eps,
            )
        else:
            normed = self.norm(existing)
        return torch.zeros_like(frames).masked_scatter(mask.unsqueeze(-1), normed)
