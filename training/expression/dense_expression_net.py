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

from training.expression.same_padding import pad_same

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
        self.convolution = nn.Conv2d(inputs, outputs, 3, stride=2)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to (B, outputs, H / 2, W / 2)."""
        return self.convolution(pad_same(maps, 2, 0.0))


class DepthwiseSeparable(nn.Module):
    """A 3x3 convolution of every channel and a 1x1 convolution across them, with a bias."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to (B, outputs, H / stride, W / stride)."""
        return self.pointwise(self.depthwise(pad_same(maps, self.stride, 0.0)))


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
        first = functional.relu(self.conv0(maps))
        second = self.conv1(first)
        third = self.conv2(functional.relu(first + second))
        fourth = self.conv3(functional.relu(first + (second + third)))
        return functional.relu(first + (second + (third + fourth)))


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
