"""The networks as they are served: plain tensors in, plain tensors out, casts and scaling inside.

The shapes and types are those of `service.domain.model_signatures`. A backbone takes
batches of any size in micro-batches of one fixed size, the last one padded:
memory stays bounded, and an embedding comes out the same to the bit whatever
else is in the batch. Kernels chosen by batch size would differ in the last bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.networks.fusion import FoldEnsemble
from training.networks.iresnet import IResNet
from training.networks.log_mel import LogMel
from training.networks.stacked_folds import FoldStack
from training.networks.vggish import Vggish
from training.presets import Networks


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """Crops or patches that go through a backbone at once, on each kind of device."""

    cpu: int
    cuda: int = 64


VISUAL_MICRO_BATCH = MicroBatch(cpu=4)
"""Four crops are as fast as 32, crop by crop; two save a lone one a third and cost 32 as much."""
AUDIO_MICRO_BATCH = MicroBatch(cpu=4)
"""A lone patch takes a third of the time it takes among 16, and 32 patches a tenth more."""


class ServedVisualBackbone(nn.Module):
    """Crops to face embeddings."""

    def __init__(self, network: IResNet, micro_batch: MicroBatch = VISUAL_MICRO_BATCH) -> None:
        super().__init__()
        self.network = _to_channels_last(network)
        self.size_cpu = micro_batch.cpu
        self.size_cuda = micro_batch.cuda

    def forward(self, crops: Tensor) -> Tensor:
        """(N, 3, 112, 112) uint8 RGB to (N, 512) float32."""
        size = self.size_cuda if crops.is_cuda else self.size_cpu
        count = crops.shape[0]
        padded = functional.pad(crops, (0, 0, 0, 0, 0, 0, 0, -count % size))
        embeddings: list[Tensor] = []
        for part in padded.split(size):
            # channels_last: about 1.5 times the speed of NCHW on CPU.
            scaled = (part.float() / 255.0 - 0.5) / 0.5
            embeddings.append(self.network(scaled.contiguous(memory_format=torch.channels_last)))
        return torch.cat(embeddings)[:count]


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
        return torch.cat([self.network(part) for part in padded.split(size)])[:count]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadCalibration:
    """sqrt((scale spread)^2 + floor^2) for (valence, arousal): as it is, unless it was fitted."""

    scale: tuple[float, float] = (1.0, 1.0)
    floor: tuple[float, float] = (0.0, 0.0)


UNCALIBRATED = SpreadCalibration()


class ServedFusion(nn.Module):
    """The embeddings of one window to the folds' mean and calibrated spread.

    A root of squares, since the windows' spreads are merged as one: calibrating before the
    merge or after it is the same. `network` is what is known by its hash and never called; its
    weights as they are now compute in `stack`.
    """

    def __init__(
        self, network: FoldEnsemble, calibration: SpreadCalibration = UNCALIBRATED
    ) -> None:
        super().__init__()
        self.network = network
        self.stack = FoldStack(network)
        self.spread_scale = nn.Buffer(torch.tensor(calibration.scale))
        self.spread_floor = nn.Buffer(torch.tensor(calibration.floor))

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(T, 512), (T, 128) float32 and (T,) bool to (T, 2) twice."""
        mean, spread = self.fuse(visual.unsqueeze(0), audio.unsqueeze(0), mask.unsqueeze(0))
        return mean.squeeze(0), spread.squeeze(0)

    def fuse(self, visual: Tensor, audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, 512), (B, T, 128) float32 and (B, T) bool to (B, T, 2) twice."""
        mean, spread = self.stack(visual, audio, mask)
        scaled = (spread * self.spread_scale).square() + self.spread_floor.square()
        return mean, scaled.sqrt()


class ServedLiveFusion(ServedFusion):
    """As `ServedFusion`, for the last frames of several streams at once."""

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, 512), (B, T, 128) float32 and (B, T) bool to (B, T, 2) twice."""
        return self.fuse(visual, audio, mask)


def _to_channels_last(network: nn.Module) -> nn.Module:
    # The overload of Module.to that takes a memory format alone has no type.
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def build_served_models(
    networks: Networks, calibration: SpreadCalibration = UNCALIBRATED
) -> dict[str, nn.Module]:
    """The served model of each name in `signatures.SCRIPTED`, in evaluation mode."""
    visual = ServedVisualBackbone(networks.visual).eval()
    return {
        "visual_backbone": visual,
        "live_visual_backbone": visual,
        "log_mel": ServedLogMel(networks.log_mel).eval(),
        "audio_backbone": ServedAudioBackbone(networks.audio).eval(),
        "fusion": ServedFusion(networks.fusion, calibration).eval(),
        "live_fusion": ServedLiveFusion(networks.fusion, calibration).eval(),
    }
