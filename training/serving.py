"""Served networks: wrappers with the inputs and outputs of `service.domain.model_signatures`.

A backbone splits a batch into micro-batches, and the rest into small ones, padding the last: memory
is bounded, and an embedding is bit-identical whatever else is in the batch. The kernels of fused
layers add in the same order in batches of any two and more; others do so in one size only.

`network` holds the weights that are hashed and is never called; a fused copy computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.inference.calibration_samples import CalibrationSamples
from training.inference.fusing import fuse_layers
from training.inference.precision import Precision
from training.inference.quantizing import quantize_layers
from training.networks.fusion import FoldEnsemble
from training.networks.log_mel import LogMel
from training.networks.published_backbones import PublishedBackbone
from training.networks.stacked_folds import FoldStack
from training.networks.vggish import Vggish
from training.presets import Networks


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """Number of crops or patches in one call of a backbone, by device; rest: of what is over."""

    cpu: int
    rest: int
    cuda: int = 64


VISUAL_MICRO_BATCH = MicroBatch(cpu=8, rest=2)
"""Eight crops have the throughput of 32; of two, one crop takes a third of the time of eight."""
INT8_MICRO_BATCH = MicroBatch(cpu=2, rest=2)
"""Of crops in int8: the allocator keeps float32 maps of this size. Those of four or more it gives
back to the system and has zeroed again, a fifth of the time."""
PUBLISHED_MICRO_BATCH = MicroBatch(cpu=1, rest=1)
"""Of published networks: alone in its batch a crop has bit-identical outputs, which in fours
EfficientNet does not give."""
AUDIO_MICRO_BATCH = MicroBatch(cpu=8, rest=2)
"""As of crops."""


class MicroBatched(nn.Module):
    """Base of the served backbones: items in micro-batches, the last one padded."""

    def __init__(self, micro_batch: MicroBatch, precision: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.precision = precision
        self.size_cpu = micro_batch.cpu
        self.size_rest = micro_batch.rest
        self.size_cuda = micro_batch.cuda

    def forward(self, items: Tensor) -> Tensor:
        """(N, ..) items to (N, D) float32 embeddings."""
        size = self.size_cuda if items.is_cuda else self.size_cpu
        rest = self.size_cuda if items.is_cuda else self.size_rest
        count = items.shape[0]
        whole = count - count % size
        parts: list[Tensor] = []
        if whole > 0:
            parts += [self.embed(part) for part in torch.split(items[:whole], size)]
        if whole < count:
            edges = [0, 0] * (items.dim() - 1) + [0, (whole - count) % rest]
            last = functional.pad(items[whole:], edges)
            parts += [self.embed(part) for part in torch.split(last, rest)]
        return torch.cat(parts)[:count]

    def embed(self, items: Tensor) -> Tensor:
        """(B, ..) items of a micro-batch to (B, D) float32 embeddings."""
        raise NotImplementedError


class ServedVisualBackbone(MicroBatched):
    """Crops, (N, 3, 112, 112) uint8 RGB, to face embeddings, (N, 512)."""

    def __init__(
        self,
        network: nn.Module,
        micro_batch: MicroBatch | None = None,
        precision: torch.dtype = torch.float32,
        samples: Tensor | None = None,
    ) -> None:
        """Fuse a network; with samples, crops, its large layers are quantised to their ranges."""
        is_published = isinstance(network, PublishedBackbone)
        default = VISUAL_MICRO_BATCH if samples is None else INT8_MICRO_BATCH
        default = PUBLISHED_MICRO_BATCH if is_published else default
        super().__init__(micro_batch or default, precision)
        self.network = network
        fused = fuse_layers(network)
        if samples is not None:
            fused = quantize_layers(fused, _split(scale_crops(samples)))
        self.fused = fused.to(precision)

    def embed(self, items: Tensor) -> Tensor:
        """(B, 3, 112, 112) uint8 RGB to (B, 512) float32."""
        return self.fused(scale_crops(items).to(self.precision)).float()


class ServedLogMel(nn.Module):
    """Waveform to log-mel patches."""

    def __init__(self, network: LogMel) -> None:
        super().__init__()
        self.network = network

    def forward(self, waveform: Tensor, patch_starts: Tensor) -> Tensor:
        """(S,) float32 and (T,) int64 to (T, 96, 64) float32."""
        return self.network(waveform, patch_starts)


class ServedAudioBackbone(MicroBatched):
    """Log-mel patches, (N, 96, 64), to voice embeddings, (N, 128)."""

    def __init__(
        self,
        network: Vggish,
        precision: torch.dtype = torch.float32,
        samples: Tensor | None = None,
    ) -> None:
        """Fuse a network; with samples, patches, its large layers are quantised."""
        super().__init__(AUDIO_MICRO_BATCH, precision)
        self.network = network
        fused = fuse_layers(network)
        if samples is not None:
            fused = quantize_layers(fused, _split(samples))
        self.fused = fused.to(precision)

    def embed(self, items: Tensor) -> Tensor:
        """(B, 96, 64) to (B, 128), float32."""
        return self.fused(items.to(self.precision)).float()


class ServedFusion(nn.Module):
    """Embeddings of one window to the folds' mean and spread; `stack` is the copy that computes."""

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


def scale_crops(crops: Tensor) -> Tensor:
    """Map grey levels from 0 to 255 to -1 to 1, as the visual backbone takes them."""
    return crops.float() / 127.5 - 1.0


def _split(samples: Tensor) -> Sequence[Tensor]:
    """Split samples into batches of bounded memory."""
    size = VISUAL_MICRO_BATCH.cpu
    return [samples[first : first + size] for first in range(0, len(samples), size)]


def build_served_models(
    networks: Networks,
    precision: Precision = Precision.FLOAT32,
    samples: CalibrationSamples | None = None,
) -> dict[str, nn.Module]:
    """Build the served models by name of `model_signatures.EXPORTED_MODELS`, in evaluation mode.

    Args:
        networks: of a preset or a run.
        precision: of the backbones; the other models compute in float32 and float64.
        samples: what int8 is calibrated on, and needs.

    """
    if (precision is Precision.INT8) != (samples is not None):
        raise ValueError("int8, and it alone, is calibrated on samples")
    dtype = precision.dtype
    visual = ServedVisualBackbone(
        networks.visual, precision=dtype, samples=samples.crops if samples else None
    ).eval()
    audio = ServedAudioBackbone(networks.audio, dtype, samples.patches if samples else None)
    return {
        "visual_backbone": visual,
        "live_visual_backbone": visual,
        "log_mel": ServedLogMel(networks.log_mel).eval(),
        "audio_backbone": audio.eval(),
        "fusion": ServedFusion(networks.fusion).eval(),
        "live_fusion": ServedLiveFusion(networks.fusion).eval(),
    }
