"""Transformer encoder over the frames of a window; masked frames are not attended to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig:
    """Sizes of the fusion encoder; defaults after the ABAW6 winner's [I]."""

    width: int = 128
    layers: int = 4
    heads: int = 4
    feedforward: int = 128
    dropout: float = 0.3
    attention_dropout: float = 0.3
    """Dropout of the attention weights; takes a third of a training step's time on a CPU."""
    directed: bool = False
    """Half of the heads attend to the past, half to the future, by distance: `DistanceBias`."""


class DistanceBias(nn.Module):
    """Bias of attention scores: decreases linearly with distance, on one side of each frame.

    Heads form pairs, one for the past and one for the future; each pair reaches further than the
    one before.
    Source: linear biases of Press et al. 2022 [L]; one side for each head, and the reach [I].
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        pair = torch.arange(heads) // 2
        self.reach = nn.Buffer(8.0 * 8.0**pair, persistent=False)
        self.side = nn.Buffer(1.0 - 2.0 * (torch.arange(heads) % 2), persistent=False)

    def forward(self, scores: Tensor) -> Tensor:
        """(B, H, T, T) scores of queries and keys to the same shape."""
        places = torch.arange(scores.shape[-1], device=scores.device, dtype=scores.dtype)
        back = (places[:, None] - places) * self.side[:, None, None]
        near = (-back / self.reach[:, None, None]).masked_fill(back < 0, -1e9)
        return scores + near


class SelfAttention(nn.Module):
    """Multi-head attention of every frame to the unmasked frames."""

    def __init__(self, width: int, heads: int, dropout: float, *, directed: bool) -> None:
        super().__init__()
        self.heads = heads
        self.nearness: nn.Module = DistanceBias(heads) if directed else nn.Identity()
        self.projection = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) and (B, T) bool, True where a frame exists, to (B, T, D)."""
        batch, frames, width = x.shape
        split = self.projection(x).view(batch, frames, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        scores = self.nearness(query @ key.transpose(-2, -1) * (width // self.heads) ** -0.5)
        # A finite floor: a window without any frame must not become NaN.
        scores = scores.masked_fill(~mask[:, None, None, :], -1e9)
        weights = self.dropout(torch.softmax(scores, dim=-1))
        return self.output((weights @ value).transpose(1, 2).reshape(batch, frames, width))


class EncoderLayer(nn.Module):
    """Attention and feed-forward layer, each with a residual connection and a layer norm."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(
            config.width, config.heads, config.attention_dropout, directed=config.directed
        )
        self.attention_norm = nn.LayerNorm(config.width)
        self.feedforward = nn.Sequential(
            nn.Linear(config.width, config.feedforward),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.feedforward, config.width),
        )
        self.feedforward_norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) and (B, T) bool to (B, T, D)."""
        x = self.attention_norm(x + self.dropout(self.attention(x, mask)))
        return self.feedforward_norm(x + self.dropout(self.feedforward(x)))


class Encoder(nn.Module):
    """Encoder of the concatenated modalities: one feature vector per frame [S]."""

    def __init__(self, inputs: int, config: EncoderConfig) -> None:
        super().__init__()
        self.entry = nn.Linear(inputs, config.width)
        self.layers = nn.ModuleList([EncoderLayer(config) for _ in range(config.layers)])

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) and (B, T) bool, True where a frame exists, to (B, T, width)."""
        x = self.entry(x)
        for layer in self.layers:
            x = layer(x, mask)
        return x
