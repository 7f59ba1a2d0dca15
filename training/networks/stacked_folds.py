"""Stacked folds: the six folds as one network, for serving.

Folds are trained and stored separately. Run one after the other, they are hundreds of small
kernel calls whose overhead dominates; here the F folds are the first dimension, (F, B, T, D).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.networks.encoder import Encoder, EncoderLayer, SelfAttention
from training.networks.fusion import FoldEnsemble, FoldNetwork
from training.networks.stacked_tcn import StackedLinear, StackedTcn, make_constant_buffer


class StackedNorm(nn.Module):
    """Layer norm of every fold."""

    def __init__(self, norms: Sequence[nn.LayerNorm]) -> None:
        super().__init__()
        self.shape = list(norms[0].normalized_shape)
        self.eps = norms[0].eps
        self.weight = make_constant_buffer(
            torch.stack([norm.weight for norm in norms])[:, None, None]
        )
        self.bias = make_constant_buffer(torch.stack([norm.bias for norm in norms])[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """(F, B, T, D) to the same shape."""
        normed = functional.layer_norm(x, self.shape, eps=self.eps)
        return torch.addcmul(self.bias, normed, self.weight)


class StackedAttention(nn.Module):
    """`SelfAttention` of every fold."""

    def __init__(self, attentions: Sequence[SelfAttention]) -> None:
        super().__init__()
        self.heads = attentions[0].heads
        self.projection = _stack_linear_layers([each.projection for each in attentions])
        self.output = _stack_linear_layers([each.output for each in attentions])

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """(F, B, T, D) and the bias of every fold's scores, (B, H, T, T), to (F, B, T, D)."""
        folds, batch, frames, width = x.shape
        split = self.projection(x).view(folds, batch, frames, 3, self.heads, width // self.heads)
        query, key, value = split.permute(3, 0, 1, 4, 2, 5).unbind(0)
        scores = query * (width // self.heads) ** -0.5 @ key.transpose(-2, -1)
        # In place: a second copy of the scores of 300 frames would take longer than the sum.
        attended = torch.softmax(scores.add_(bias), dim=-1) @ value
        return self.output(attended.transpose(2, 3).flatten(3))


class StackedEncoderLayer(nn.Module):
    """`EncoderLayer` of every fold, in evaluation mode."""

    def __init__(self, layers: Sequence[EncoderLayer]) -> None:
        super().__init__()
        self.attention = StackedAttention([layer.attention for layer in layers])
        self.attention_norm = StackedNorm([layer.attention_norm for layer in layers])
        self.inner = _stack_linear_layers([layer.feedforward[0] for layer in layers])
        self.outer = _stack_linear_layers([layer.feedforward[3] for layer in layers])
        self.feedforward_norm = StackedNorm([layer.feedforward_norm for layer in layers])

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """(F, B, T, D) and (B, H, T, T) to (F, B, T, D)."""
        x = self.attention_norm(x + self.attention(x, bias))
        return self.feedforward_norm(x + self.outer(torch.relu(self.inner(x))))


class StackedEncoder(nn.Module):
    """`Encoder` of every fold, in evaluation mode."""

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        super().__init__()
        layer_stacks = [
            [layer for layer in encoder.layers if isinstance(layer, EncoderLayer)]
            for encoder in encoders
        ]
        self.heads = layer_stacks[0][0].attention.heads
        self.nearness = layer_stacks[0][0].attention.nearness
        self.entry = _stack_linear_layers([encoder.entry for encoder in encoders])
        self.layers = nn.ModuleList(
            [StackedEncoderLayer(layers) for layers in zip(*layer_stacks, strict=True)]
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(F, B, T, D) and (B, T) bool, True where a frame exists, to (F, B, T, width)."""
        batch, frames = mask.shape
        # Shared by all folds and layers: the distance bias, and the floor of masked frames.
        near = self.nearness(x.new_zeros((batch, self.heads, frames, frames)))
        bias = near.masked_fill(~mask[:, None, None, :], -1e9)
        x = self.entry(x)
        for layer in self.layers:
            x = layer(x, bias)
        return x


class FoldStack(nn.Module):
    """`FoldEnsemble` in evaluation mode, equal up to rounding; holds a copy of its weights."""

    def __init__(self, ensemble: FoldEnsemble) -> None:
        super().__init__()
        folds = [fold for fold in ensemble.folds if isinstance(fold, FoldNetwork)]
        self.visual = StackedTcn([fold.visual for fold in folds])
        self.audio = StackedTcn([fold.audio for fold in folds])
        self.encoder = StackedEncoder([fold.encoder for fold in folds])
        heads = [[head for head in fold.heads if isinstance(head, nn.Linear)] for fold in folds]
        self.head = StackedLinear(
            [torch.cat([head.weight for head in each]) for each in heads],
            [torch.cat([head.bias for head in each]) for each in heads],
        )

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, 512), (B, T, 128) and (B, T) bool to mean and deviation, (B, T, 2) each."""
        absent = ~mask.unsqueeze(-1)
        modalities = [
            self.visual(visual.masked_fill(absent, 0.0)),
            self.audio(audio.masked_fill(absent, 0.0)),
        ]
        frames = self.encoder(torch.cat(modalities, dim=-1), mask)
        estimates = torch.tanh(self.head(frames))
        return estimates.mean(dim=0), estimates.std(dim=0, correction=0)


def _stack_linear_layers(layers: Sequence[nn.Module]) -> StackedLinear:
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    return StackedLinear([each.weight for each in linear], [each.bias for each in linear])
