"""Served models of a pulled network: its outputs in the layout of a face embedding.

    0..7    probabilities of the classes
    8, 9    valence and arousal
    10..17  scores of the classes, before the softmax
    18..    the beginning of the network's own embedding, 494 values

A linear head may use the first 18 values: the map that the publishers fitted to rated video takes
the scores with valence and arousal.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from service.domain.model_signatures import CROP_SIDE, FACE_FEATURES, TARGETS
from training.inference.fusing import fuse_layers
from training.networks.expression_head import CLASS_COUNT, HEAD_OUTPUTS
from training.serving import MicroBatch, MicroBatched

HEAD_FEATURES: Final = CLASS_COUNT + HEAD_OUTPUTS
"""Values of the embedding that a linear head may use."""
PULLED_MICRO_BATCH: Final = MicroBatch(cpu=1, rest=1)
"""One crop takes a quarter of the time that four take, and 32 no longer than in fours; alone in its
batch a crop has bit-identical outputs, which in fours EfficientNet does not give."""


class ServedPulledBackbone(MicroBatched):
    """Crops to the outputs of a pulled network, in the layout of this module."""

    def __init__(
        self,
        network: nn.Module,
        *,
        side: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        micro_batch: MicroBatch = PULLED_MICRO_BATCH,
    ) -> None:
        super().__init__(micro_batch)
        self.network = network
        self.fused = fuse_layers(network)
        self.mean = nn.Buffer(torch.tensor(mean).reshape(3, 1, 1))
        self.std = nn.Buffer(torch.tensor(std).reshape(3, 1, 1))
        self.classes = CLASS_COUNT
        self.rest = FACE_FEATURES - HEAD_FEATURES
        self.side = side
        self.is_enlarged = side != CROP_SIDE

    def embed(self, items: Tensor) -> Tensor:
        """(B, 3, 112, 112) uint8 RGB to (B, 512) float32."""
        scaled = items.float() / 255.0
        if self.is_enlarged:
            size = [self.side, self.side]
            scaled = functional.interpolate(scaled, size=size, mode="bilinear")
        outputs, embedding = self.fused((scaled - self.mean) / self.std)
        scores, affect = outputs[:, : self.classes], outputs[:, self.classes :]
        return torch.cat([scores.softmax(1), affect, scores, embedding[:, : self.rest]], dim=1)


class ServedPulledFusion(nn.Module):
    """Valence and arousal of each frame's embedding; a single network has no spread."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(HEAD_FEATURES, len(TARGETS))
        self.features = HEAD_FEATURES
        with torch.no_grad():
            self.head.bias.zero_()
            self.head.weight.zero_()
            for target in range(len(TARGETS)):
                self.head.weight[target, CLASS_COUNT + target] = 1.0

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(.., 512), (.., 128) float32 and (..) bool to (.., 2) twice; the voice is not used."""
        del audio, mask
        mean = self.head(visual[..., : self.features]).clamp(-1.0, 1.0)
        return mean, torch.zeros_like(mean)
