"""Served models of the estimator `expression`: both networks, and the expectation on the plane.

Inputs and outputs are those of `service.domain.model_signatures`. Of the 512 values of an embedding
the first 7 are the class probabilities of the estimator, in the order of `classes.CLASSES`, the
next 7 those of mini-XCEPTION, the next 7 those of face-api's network; the others are zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from service.domain.model_signatures import FACE_FEATURES
from training.expression import dense_expression_net, mini_xception
from training.expression.classes import CLASSES, PLACES, order_of
from training.expression.dense_expression_net import DENSE_NET_CLASSES, DenseExpressionNet
from training.expression.mini_xception import MINI_XCEPTION_CLASSES, MiniXception
from training.inference.fusing import fuse_layers
from training.serving import MicroBatch, MicroBatched

NETWORKS: Final = ("mini_xception", "dense_expression_net")
"""Order of the two networks in an embedding."""
LUMA: Final = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey value, as OpenCV converts it."""
EXPRESSION_MICRO_BATCH: Final = MicroBatch(cpu=8, rest=2)
"""Eight crops have the throughput of 32; of two, one crop takes a third of the time of eight."""
HEAD_FEATURES: Final = (1 + len(NETWORKS)) * len(CLASSES)
"""Number of the first values of an embedding that are not zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpressionConfig:
    """Part of the crop that the networks see, and their temperatures.

    The square without the crop's upper 8 rows and 4 columns at both sides is nearest to the boxes
    that the networks were trained on. Temperatures minimise the negative log-likelihood of 89
    labelled stills; docs/explanation/expression.md has what else was tried.
    """

    top: int = 8
    left: int = 4
    side: int = 104
    mini_temperature: float = 1.0
    dense_temperature: float = 3.0


class SquareView(nn.Module):
    """Cuts a square out of the crop and scales it to the input of a network."""

    def __init__(self, config: ExpressionConfig, input_side: int) -> None:
        super().__init__()
        self.top = config.top
        self.left = config.left
        self.side = config.side
        self.size = [input_side, input_side]

    def forward(self, crops: Tensor) -> Tensor:
        """(B, C, 112, 112) to (B, C, input_side, input_side)."""
        square = crops[:, :, self.top : self.top + self.side, self.left : self.left + self.side]
        return functional.interpolate(square, self.size, mode="bilinear", antialias=True)


class ClassProbabilities(nn.Module):
    """Logits in a network's own order to probabilities in the order of CLASSES."""

    def __init__(self, order: list[int], temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.order = nn.Buffer(torch.tensor(order))

    def forward(self, logits: Tensor) -> Tensor:
        """(B, 7) to (B, 7), rows of sum 1."""
        return torch.softmax(logits / self.temperature, dim=1).index_select(1, self.order)


class ServedExpressionBackbone(MicroBatched):
    """Crops to class probabilities, in micro-batches as `ServedVisualBackbone`."""

    def __init__(
        self,
        mini: MiniXception,
        dense: DenseExpressionNet,
        config: ExpressionConfig,
        micro_batch: MicroBatch = EXPRESSION_MICRO_BATCH,
    ) -> None:
        super().__init__(micro_batch)
        self.mini = mini
        self.dense = dense
        self.fused_mini = fuse_layers(mini)
        self.fused_dense = fuse_layers(dense)
        self.mini_view = SquareView(config, mini_xception.INPUT_SIDE)
        self.dense_view = SquareView(config, dense_expression_net.INPUT_SIDE)
        self.mini_classes = ClassProbabilities(
            order_of(MINI_XCEPTION_CLASSES), config.mini_temperature
        )
        self.dense_classes = ClassProbabilities(
            order_of(DENSE_NET_CLASSES), config.dense_temperature
        )
        self.luma = nn.Buffer(torch.tensor(LUMA).view(1, 3, 1, 1))
        self.padding = FACE_FEATURES - HEAD_FEATURES

    def embed(self, items: Tensor) -> Tensor:
        """(B, 3, 112, 112) uint8 RGB to (B, 512) float32."""
        pixels = items.float()
        grey = self.mini_view((pixels * self.luma).sum(dim=1, keepdim=True))
        mini = self.mini_classes(self.fused_mini(grey / 127.5 - 1.0))
        colour = self.dense_view(pixels.contiguous(memory_format=torch.channels_last))
        dense = self.dense_classes(self.fused_dense(colour))
        both = torch.cat(((mini + dense) / 2.0, mini, dense), dim=1)
        return functional.pad(both, (0, self.padding))


class ServedExpressionFusion(nn.Module):
    """Class probabilities to the expectation on the plane, and the networks' standard deviation.

    Every frame by itself: the timeline is smoothed by the service.
    """

    def __init__(self) -> None:
        super().__init__()
        self.classes = len(CLASSES)
        self.places = nn.Buffer(torch.tensor([PLACES[name] for name in CLASSES]))

    def forward(
        self,
        visual: Tensor,
        audio: Tensor,  # noqa: ARG002 - the signature's; no voice is used
        mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """(T, 512), (T, 128) float32 and (T,) bool to (T, 2) twice; masked frames are zero.

        Batched alike: (B, T, 512), (B, T, 128) and (B, T) to (B, T, 2) twice.
        """
        mini = torch.matmul(visual[..., self.classes : 2 * self.classes], self.places)
        dense = torch.matmul(visual[..., 2 * self.classes : 3 * self.classes], self.places)
        known = mask.unsqueeze(-1)
        mean = torch.where(known, (mini + dense) / 2.0, 0.0)
        spread = torch.where(known, torch.abs(mini - dense) / 2.0, 0.0)
        return mean, spread
