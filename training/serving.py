"""Served networks: wrappers with the inputs and outputs of `service.domain.model_signatures`.

A backbone splits batches of any size into micro-batches of one fixed size, padding the last:
memory is bounded, and an embedding is bit-identical whatever else is in the batch. Kernels chosen
by batch size would differ in the last bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.networks.fusion import FoldEnsemble
from training.networks.log_mel import LogMel
from training.networks.published_backbones import PublishedBackbone
from training.networks.stacked_folds import FoldStack
from training.networks.vggish import Vggish
from training.presets import Networks


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """Number of crops or patches in one call of a backbone, by device."""

    cpu: int
    cuda: int = 64


VISUAL_MICRO_BATCH = MicroBatch(cpu=4)
"""Four crops have the throughput of 32; two make one crop a third faster and 32 a third slower."""
PUBLISHED_MICRO_BATCH = MicroBatch(cpu=1)
"""Of published networks: alone in its batch a crop has bit-identical outputs, which in fours
EfficientNet does not give."""
AUDIO_MICRO_BATCH = MicroBatch(cpu=4)
"""Compared with 16: one patch takes a third of the time, 32 patches a tenth more."""


class MicroBatchedBackbone(nn.Module):
    """Base of the served visual backbones: crops in micro-batches, the last one padded."""

    def __init__(self, micro_batch: MicroBatch) -> None:
        super().__init__()
        self.size_cpu = micro_batch.cpu
        self.size_cuda = micro_batch.cuda

    def forward(self, crops: Tensor) -> Tensor:
        """(N, 3, 112, 112) uint8 RGB to (N, 512) float32."""
        size = self.size_cuda if crops.is_cuda else self.size_cpu
        count = crops.shape[0]
        padded = functional.pad(crops, (0, 0, 0, 0, 0, 0, 0, -count % size))
        return torch.cat([self.embed(part) for part in torch.split(padded, size)])[:count]

    def embed(self, crops: Tensor) -> Tensor:
        """(B, 3, 112, 112) uint8 RGB to (B, 512) float32, for a micro-batch."""
        raise NotImplementedError


class ServedVisualBackbone(MicroBatchedBackbone):
    """Crops to face embeddings."""

    def __init__(self, network: nn.Module, micro_batch: MicroBatch | None = None) -> None:
        is_published = isinstance(network, PublishedBackbone)
        super().__init__(
            micro_batch or (PUBLISHED_MICRO_BATCH if is_published else VISUAL_MICRO_BATCH)
        )
        self.network = _to_channels_last(network)

    def embed(self, crops: Tensor) -> Tensor:
        """(B, 3, 112, 112) uint8 RGB to (B, 512) float32."""
        # channels_last: about 1.5 times the speed of NCHW on CPU.
        scaled = (crops.float() / 255.0 - 0.5) / 0.5
        return self.network(scaled.contiguous(memory_format=torch.channels_last))


class ServedLogMel(nn.Module):
    """Waveform to log-mel patches."""

    def __init__(self, network: LogMel) -> None:
        super().__init__()
        self.network = network

    def forward(self, waveform: Tensor, patch_starts: Tensor) -> Tensor:
        """(S,) float32 and (T,) int64 to (T, 96, 64) float32."""
        return self.network(waveform, patch_starts)


class ServedAudioBackbone(nn.Module):
    """Log-mel patches to voice embeddings."""

    def __init__(self, network: Vggish, micro_batch: MicroBatch = AUDIO_MICRO_BATCH) -> None:
        super().__init__()
        self.network = _to_channels_last(network)
        self.size_cpu = micro_batch.cpu
        self.size_cuda = micro_batch.cuda

    def forward(self, patches: Tensor) -> Tensor:
        """(N, 96, 64) to (N, 128), float32."""
        size = self.size_cuda if patches.is_cuda else self.size_cpu
        count = patches.shape[0]
        padded = functional.pad(patches, (0, 0, 0, 0, 0, -count % size))
        return torch.cat([self.network(part) for part in torch.split(padded, size)])[:count]


class ServedFusion(nn.Module):
    """Embeddings of one window to the folds' mean and spread.

    `network` holds the weights that are hashed and is never called; `stack` computes with a copy of
    them.
    """

    def __init__(self, network: FoldEnsemble) -> None:
        super().__init__()
        self.network = network
        self.stack = FoldStack(network)

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(T, 512), (T, 128) float32 and (T,) bool to (T, 2) twice."""
        mean, spread = self.fuse(visual.unsqueeze(0), audio.unsqueeze(0), mask.unsqueeze(0))
        return mean.squeeze(0), spread.squeeze(0)

    def fuse(self, visual: Tensor, audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, 512), (B, T, 128) float32 and (B, T) bool to (B, T, 2) twice."""
        return self.stack(visual, audio, mask)


class ServedLiveFusion(ServedFusion):
    """`ServedFusion` with a batch dimension, for the last frames of several streams."""

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, 512), (B, T, 128) float32 and (B, T) bool to (B, T, 2) twice."""
        return self.fuse(visual, audio, mask)


def _to_channels_last(network: nn.Module) -> nn.Module:
    return cast("nn.Module", network.to(memory_format=torch.channels_last))  # pyright: ignore[reportCallIssue]  # no overload takes a memory format alone


def build_served_models(networks: Networks) -> dict[str, nn.Module]:
    """Build the served models by name of `model_signatures.EXPORTED_MODELS`, in evaluation mode."""
    visual = ServedVisualBackbone(networks.visual).eval()
    return {
        "visual_backbone": visual,
        "live_visual_backbone": visual,
        "log_mel": ServedLogMel(networks.log_mel).eval(),
        "audio_backbone": ServedAudioBackbone(networks.audio).eval(),
        "fusion": ServedFusion(networks.fusion).eval(),
        "live_fusion": ServedLiveFusion(networks.fusion).eval(),
    }
