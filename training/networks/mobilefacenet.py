"""MobileFaceNet of `mbf_va_mtl`: a small face recognition network with a head for expressions.

Batch norms are folded into the convolutions and into the embedding layer: the network is for
inference from published weights. Source: Chen et al. 2018, in the wide variant of InsightFace and
EmotiEffLib (first stages of 128 channels, 512 features).
"""

from __future__ import annotations

from torch import Tensor, nn

from service.domain.model_signatures import FACE_FEATURES
from training.networks.expression_head import HEAD_OUTPUTS

INPUT_SIDE = 112


class ConvPrelu(nn.Module):
    """Convolution, then a PReLU with a slope for each channel."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups
        )
        self.prelu = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H / stride, W / stride)."""
        return self.prelu(self.conv(x))


class Bottleneck(nn.Module):
    """Pointwise, depthwise and linear pointwise convolution."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.expand = ConvPrelu(inputs, inner)
        self.depthwise = ConvPrelu(inner, inner, 3, stride, groups=inner)
        self.project = nn.Conv2d(inner, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H / stride, W / stride)."""
        return self.project(self.depthwise(self.expand(x)))


class ResidualBottleneck(Bottleneck):
    """`Bottleneck` of one width and stride 1, added to its input."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return x + self.project(self.depthwise(self.expand(x)))


class MobileFaceNet(nn.Module):
    """Faces to scores of classes with valence and arousal, and the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvPrelu(3, 128, 3, stride=2), ConvPrelu(128, 128, 3, groups=64))
        self.stages = nn.Sequential(
            Bottleneck(128, 128, 128, stride=2),
            *(ResidualBottleneck(128) for _ in range(4)),
            Bottleneck(128, 256, 256, stride=2),
            *(ResidualBottleneck(256) for _ in range(6)),
            Bottleneck(256, 512, 256, stride=2),
            *(ResidualBottleneck(256) for _ in range(2)),
        )
        self.last = ConvPrelu(256, 512)
        self.pool = nn.Conv2d(512, 512, 7, groups=512)
        self.flatten = nn.Flatten()
        self.embedding = nn.Linear(512, FACE_FEATURES)
        self.head = nn.Linear(FACE_FEATURES, HEAD_OUTPUTS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, 112, 112) float32 in [-1, 1] to (B, 10) and (B, 512)."""
        pooled = self.flatten(self.pool(self.last(self.stages(self.stem(x)))))
        embedding = self.embedding(pooled)
        return self.head(embedding), embedding
