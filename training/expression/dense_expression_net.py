"""Face-api's expression network: seven classes from a face of 112x112 RGB pixels.

Four dense blocks of depthwise-separable convolutions, and one linear layer. Source: the package
`@vladmandic/face-api` (a continuation of face-api.js by V. Mühler); what it was trained on has not
been published.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.networks.same_padding import SamePadding

DENSE_NET_CLASSES: Final = (
    "neutral",
    "happiness",
    "sadness",
    "anger",
    "fear",
    "disgust",
    "surprise",
)
INPUT_SIDE: Final = 112
MEAN_RGB: Final = (122.782, 117.001, 104.298)
"""Subtracted from the pixels, which are then divided by 255."""
_WIDTHS: Final = (32, 64, 128, 256)


class StridedConvolution(nn.Module):
    """A 3x3 convolution of every second pixel, padded as TensorFlow does."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.padding = SamePadding(2)
        self.convolution = nn.Conv2d(inputs, outputs, 3, stride=2)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to (B, outputs, H / 2, W / 2)."""
        return self.convolution(self.padding(maps))


class DepthwiseSeparable(nn.Module):
    """A 3x3 convolution of every channel and a 1x1 convolution across them, with a bias."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.padding: nn.Module = nn.Identity() if stride == 1 else SamePadding(stride)
        self.depthwise = nn.Conv2d(
            inputs, inputs, 3, stride, padding=int(stride == 1), groups=inputs, bias=False
        )
        self.pointwise = nn.Conv2d(inputs, outputs, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to (B, outputs, H / stride, W / stride)."""
        return self.pointwise(self.depthwise(self.padding(maps)))


class ExpressionDenseBlock(nn.Module):
    """Four convolutions, each of the sum of all earlier outputs; the first halves the map."""

    def __init__(self, inputs: int, outputs: int, *, is_first: bool) -> None:
        super().__init__()
        self.conv0 = (
            StridedConvolution(inputs, outputs)
            if is_first
            else DepthwiseSeparable(inputs, outputs, stride=2)
        )
        self.conv1 = DepthwiseSeparable(outputs, outputs)
        self.conv2 = DepthwiseSeparable(outputs, outputs)
        self.conv3 = DepthwiseSeparable(outputs, outputs)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to (B, outputs, H / 2, W / 2)."""
        total = functional.relu(self.conv0(maps))
        total = total + self.conv1(total)
        total = total + self.conv2(functional.relu(total))
        return functional.relu(total + self.conv3(functional.relu(total)))


class DenseExpressionNet(nn.Module):
    """RGB faces to the logits of DENSE_NET_CLASSES."""

    def __init__(self) -> None:
        super().__init__()
        inputs = (3, *_WIDTHS[:-1])
        self.blocks = nn.Sequential(
            *(
                ExpressionDenseBlock(before, after, is_first=index == 0)
                for index, (before, after) in enumerate(zip(inputs, _WIDTHS, strict=True))
            )
        )
        self.classifier = nn.Linear(_WIDTHS[-1], len(DENSE_NET_CLASSES))
        self.mean_rgb = nn.Buffer(torch.tensor(MEAN_RGB).view(1, 3, 1, 1))

    def forward(self, faces: Tensor) -> Tensor:
        """(B, 3, 112, 112) in [0, 255] to (B, 7) logits."""
        maps = self.blocks((faces - self.mean_rgb) / 255.0)
        return self.classifier(maps.mean(dim=(2, 3)))
