"""IResNet, the visual backbone: a face recognition network, fine-tuned for expressions.

State-dict keys are those of the public ArcFace weights, which load unchanged; LA-SE has the keys
`attention.*` and is optional. The older IR-50 of the lineage's emotion weights is the same network
with other settings.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from service.domain.model_signatures import CROP_SIDE, FACE_FEATURES
from training.networks.attention import LocalThenChannelAttention


@dataclass(frozen=True, slots=True, kw_only=True)
class IResNetConfig:
    """Sizes of the visual backbone; the defaults are IResNet-50 [L]."""

    blocks: tuple[int, ...] = (3, 4, 14, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    features: int = FACE_FEATURES
    attention: bool = True
    """LA-SE on the last stage's feature map, before the embedding layer (place [I])."""
    attention_reduction: int = 16
    dropout: float = 0.0
    scaled_side: int = CROP_SIDE
    """Side that a crop is scaled to before its centre is cut out."""
    input_side: int = CROP_SIDE
    """Side of the centre crop, the input of the first convolution."""
    first_stride: int = 2
    inner_norm: bool = True
    """A batch norm between a block's first convolution and its PReLU."""
    unit_length: bool = False
    """Normalise embeddings to length 1."""

    @property
    def map_side(self) -> int:
        """Side of the last feature map: every stage after the first halves it."""
        return self.input_side // (self.first_stride * 2 ** (len(self.blocks) - 1))


class CenterCrop(nn.Module):
    """Scales crops down and cuts out their centre, as a matrix product for each direction.

    Only the centre's pixels are computed, in half of the time that the scaling of all takes.
    """

    def __init__(self, scaled_side: int, side: int) -> None:
        super().__init__()
        # On the CPU also where a network is built without weights, which are loaded later: these
        # are of no file.
        impulses = torch.eye(CROP_SIDE, device="cpu")[None, None]
        size = [scaled_side, CROP_SIDE]
        scaled = functional.interpolate(impulses, size=size, mode="bilinear", antialias=True)
        margin = (scaled_side - side) // 2
        self.weights = nn.Buffer(scaled[0, 0, margin : margin + side], persistent=False)

    def forward(self, crops: Tensor) -> Tensor:
        """(B, 3, 112, 112) to (B, 3, side, side)."""
        return self.weights @ (crops @ self.weights.T)


class ResidualBlock(nn.Module):
    """Pre-activation residual block: BN, conv, BN, PReLU, strided conv, BN."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, inner_norm: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs) if inner_norm else nn.Identity()
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H / stride, W / stride)."""
        inner = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(inner)) + self.downsample(x)


class IResNet(nn.Module):
    """Backbone from aligned faces to embeddings. Source: ArcFace's iresnet [L], LA-SE [S]."""

    def __init__(self, config: IResNetConfig) -> None:
        super().__init__()
        stem = config.widths[0]
        self.middle: nn.Module = nn.Identity()
        if (config.scaled_side, config.input_side) != (CROP_SIDE, CROP_SIDE):
            self.middle = CenterCrop(config.scaled_side, config.input_side)
        self.conv1 = nn.Conv2d(3, stem, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.prelu = nn.PReLU(stem)
        self.layer1, self.layer2, self.layer3, self.layer4 = _build_stages(config)
        last = config.widths[-1]
        self.attention: nn.Module = nn.Identity()
        if config.attention:
            self.attention = LocalThenChannelAttention(last, config.attention_reduction)
        self.bn2 = nn.BatchNorm2d(last)
        self.dropout = nn.Dropout(config.dropout)
        self.fc = nn.Linear(last * config.map_side**2, config.features)
        self.features = nn.BatchNorm1d(config.features)
        self.unit_length = config.unit_length

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 112, 112) float32 in [-1, 1] to (B, features)."""
        x = self.prelu(self.bn1(self.conv1(self.middle(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = self.dropout(self.bn2(self.attention(x)).flatten(1))
        embedding = self.features(self.fc(x))
        return functional.normalize(embedding) if self.unit_length else embedding


def _build_stages(config: IResNetConfig) -> list[nn.Sequential]:
    stages: list[nn.Sequential] = []
    inputs, stride = config.widths[0], config.first_stride
    for outputs, blocks in zip(config.widths, config.blocks, strict=True):
        sizes = [(inputs, outputs, stride), *[(outputs, outputs, 1)] * (blocks - 1)]
        stages.append(
            nn.Sequential(*(ResidualBlock(*size, inner_norm=config.inner_norm) for size in sizes))
        )
        inputs, stride = outputs, 2
    return stages
