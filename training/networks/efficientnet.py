"""EfficientNet-B0 of `enet_b0_8_va_mtl`, with TensorFlow's padding.

Batch norms are folded into the convolutions: the network is for inference from published weights.
Source: Tan and Le 2019; the variant is timm's tf_efficientnet_b0.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from training.networks.expression_head import HEAD_OUTPUTS

INPUT_SIDE = 224
FEATURES = 1280
_REDUCTION = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class StageConfig:
    """One stage: its blocks, the first of which has the stride."""

    blocks: int
    outputs: int
    kernel: int
    stride: int


STEM_CHANNELS = 32
FIRST_OUTPUTS = 16
"""Of the first block, which does not expand."""
EXPANSION = 6
STAGES = (
    StageConfig(blocks=2, outputs=24, kernel=3, stride=2),
    StageConfig(blocks=2, outputs=40, kernel=5, stride=2),
    StageConfig(blocks=3, outputs=80, kernel=3, stride=2),
    StageConfig(blocks=3, outputs=112, kernel=5, stride=1),
    StageConfig(blocks=4, outputs=192, kernel=5, stride=2),
    StageConfig(blocks=1, outputs=320, kernel=3, stride=1),
)


def build_same_padding(kernel: int) -> nn.ZeroPad2d:
    """Padding of a convolution of stride 2 over an even side: one pixel more below and right."""
    before = (kernel - 2) // 2
    after = kernel - 2 - before
    return nn.ZeroPad2d((before, after, before, after))


class ConvSilu(nn.Module):
    """Convolution, then SiLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.pad: nn.Module = nn.Identity() if stride == 1 else build_same_padding(kernel)
        padding = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride=stride, padding=padding, groups=groups
        )
        self.silu = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H / stride, W / stride)."""
        return self.silu(self.conv(self.pad(x)))


class SqueezeExcitation(nn.Module):
    """Weights of the channels, from their means."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, inner, 1)
        self.silu = nn.SiLU()
        self.expand = nn.Conv2d(inner, channels, 1)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return x * self.sigmoid(self.expand(self.silu(self.reduce(self.pool(x)))))


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, squeeze and excitation, projection."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int = EXPANSION
    ) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand: nn.Module = ConvSilu(inputs, inner) if expansion > 1 else nn.Identity()
        self.depthwise = ConvSilu(inner, inner, kernel, stride, groups=inner)
        self.excite = SqueezeExcitation(inner, inputs // _REDUCTION)
        self.project = nn.Conv2d(inner, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H / stride, W / stride)."""
        projected = self.project(self.excite(self.depthwise(self.expand(x))))
        return projected + x if self.residual else projected


class EfficientNet(nn.Module):
    """Faces to scores of classes with valence and arousal, and the embedding."""

    def __init__(self) -> None:
        super().__init__()
        blocks = [InvertedResidual(STEM_CHANNELS, FIRST_OUTPUTS, 3, 1, expansion=1)]
        inputs = FIRST_OUTPUTS
        for stage in STAGES:
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                blocks.append(InvertedResidual(inputs, stage.outputs, stage.kernel, stride))
                inputs = stage.outputs
        self.stem = ConvSilu(3, STEM_CHANNELS, 3, stride=2)
        self.blocks = nn.Sequential(*blocks)
        self.last = ConvSilu(inputs, FEATURES)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(FEATURES, HEAD_OUTPUTS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, 224, 224) float32, normalised, to (B, 10) and (B, 1280)."""
        embedding = self.flatten(self.pool(self.last(self.blocks(self.stem(x)))))
        return self.head(embedding), embedding
