"""Published networks as visual backbones: from a crop to their features, projected to 512 values.

A network of 512 features is not projected. Its own classes are left out.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from service.domain.model_signatures import FACE_FEATURES
from training.networks import efficientnet
from training.networks.efficientnet import EfficientNet
from training.networks.mobilefacenet import MobileFaceNet

PROJECTION_PREFIX: Final = "projection."
"""Keys of the projection, which no public file has."""
_IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
_IMAGENET_STD: Final = (0.229, 0.224, 0.225)


class PublishedBackbone(nn.Module):
    """Features of a published network, projected."""

    def __init__(self, network: nn.Module, features: int) -> None:
        """Create a backbone of a network of (B, 3, 112, 112) crops to (B, features)."""
        super().__init__()
        self.network = network
        self.projection: nn.Module = nn.Identity()
        if features != FACE_FEATURES:
            self.projection = nn.Linear(features, FACE_FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 112, 112) float32 in [-1, 1] to (B, 512)."""
        return self.projection(self.network(x))


class MobileFaceFeatures(MobileFaceNet):
    """MobileFaceNet without its head."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]  # features alone
        """(B, 3, 112, 112) float32 in [-1, 1] to (B, 512)."""
        return self.embedding(self.flatten(self.pool(self.last(self.stages(self.stem(x))))))


class EfficientNetFeatures(EfficientNet):
    """EfficientNet-B0 without its head, on crops that it enlarges and normalises itself."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Identity()
        mean, std = (
            torch.tensor(values).reshape(3, 1, 1) for values in (_IMAGENET_MEAN, _IMAGENET_STD)
        )
        self.shift = nn.Buffer(mean, persistent=False)
        self.scale = nn.Buffer(std, persistent=False)
        self.size = [efficientnet.INPUT_SIDE, efficientnet.INPUT_SIDE]

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]  # features alone
        """(B, 3, 112, 112) float32 in [-1, 1] to (B, 1280)."""
        return self.flatten(self.pool(self.last(self.blocks(self.stem(self.normalise(x))))))

    def normalise(self, x: Tensor) -> Tensor:
        """(B, 3, 112, 112) in [-1, 1] to (B, 3, 224, 224) of ImageNet's mean and deviation."""
        enlarged = functional.interpolate(0.5 * x + 0.5, size=self.size, mode="bilinear")
        return (enlarged - self.shift) / self.scale
