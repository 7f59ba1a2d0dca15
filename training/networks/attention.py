"""LA-SE attention: spatial weights of a feature map (LANet), then channel weights (SENet)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class LocalAttention(nn.Module):
    """LANet: multiplies every position of the map by one weight in (0, 1).

    A = sigmoid(W2 relu(W1 x + b1) + b2), W1 1x1 C->C/r, W2 1x1 C/r->1; x' = x * A.
    Source: LS-CNN [L].
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.lanes = 64
        self.reduce = nn.Conv2d(channels, channels // reduction, 1)
        self.score = nn.Conv2d(channels // reduction, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        batch, height, width = x.shape[0], x.shape[2], x.shape[3]
        scores = self.score(self.reduce(x).relu()).flatten(1)
        # A crop's result must not depend on its position in the batch. CPU kernels round the
        # last few numbers of a tensor differently, so every crop is padded to full vectors.
        padded = functional.pad(scores, (0, -scores.shape[1] % self.lanes))
        weights = padded.sigmoid()[:, : height * width]
        return x * weights.view(batch, 1, height, width)


class ChannelAttention(nn.Module):
    """SENet: multiplies every channel by one weight in (0, 1).

    s = sigmoid(W4 relu(W3 GAP(x))), bias-free; y = x * s. Source: LS-CNN [L].
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(channels, channels // reduction, bias=False)
        self.score = nn.Linear(channels // reduction, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        weights = self.score(self.reduce(x.mean(dim=(2, 3))).relu()).sigmoid()
        return x * weights[:, :, None, None]


class LocalThenChannelAttention(nn.Module):
    """LA-SE: LANet, then SENet [S]; reduction 16 [L]."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.local = LocalAttention(channels, reduction)
        self.channel = ChannelAttention(channels, reduction)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return self.channel(self.local(x))
