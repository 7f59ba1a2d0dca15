"""Training stage 1: a backbone regresses valence and arousal from single frames.

The regression head is discarded afterwards; the folds use the backbone's embeddings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from service.domain.array_types import Float32Array
from service.domain.model_signatures import TARGETS
from training.data.layout import Recording
from training.data.samples import EpochBatchSampler, FrameDataset, Modality, SampleSource
from training.loop.distributed import Ranks
from training.loop.options import TrainingOptions
from training.losses import concordance_loss
from training.metrics import Scores, compute_scores_of_recordings
from training.networks.visual_architectures import UnfreezeStages

_FRAME_BATCH_SIZE: Final = 64

AUDIO_STAGES: Final[UnfreezeStages] = (
    ("embeddings.4.",),
    ("embeddings.",),
    ("features.11.", "features.13."),
    ("features.6.", "features.8."),
)
"""Of VGGish; those of faces are with their architectures [L]."""


class FrameRegressor(nn.Module):
    """A backbone with a linear head for valence and arousal."""

    def __init__(self, backbone: nn.Module, modality: Modality, features: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.modality = modality
        self.head = nn.Linear(features, len(TARGETS))
        nn.init.zeros_(self.head.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, 3, 112, 112) uint8 crops or (N, 96, 64) patches to (N, 2) in [-1, 1]."""
        if self.modality == "visual":
            scaled = (inputs.float() / 255.0 - 0.5) / 0.5
            inputs = scaled.contiguous(memory_format=torch.channels_last)
        return torch.tanh(self.head(self.backbone(inputs)))


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneData:
    """Recordings that a backbone is trained and validated on."""

    training: Sequence[Recording]
    validation: Sequence[Recording]
    source: SampleSource
    workers: int = 0


class BackboneTask:
    """Training task of a backbone."""

    def __init__(
        self,
        model: FrameRegressor,
        data: BackboneData,
        *,
        options: TrainingOptions,
        ranks: Ranks,
        stages: UnfreezeStages | None,
    ) -> None:
        """Create a task; `stages` of a pre-trained backbone, None trains all from scratch."""
        self.name = f"{model.modality} backbone"
        self.model = cast("nn.Module", model.to(memory_format=torch.channels_last))  # pyright: ignore[reportCallIssue]  # no overload takes a memory format alone
        self._data = data
        self._options = options
        self._ranks = ranks
        self._stages = stages
        self._samples = FrameDataset(
            data.training,
            data.source,
            grid=options.grid,
            frames_per_window=options.frames_per_window,
            augmentation=options.augmentation,
            seed=options.seed,
        )

    def set_trainable(self, epoch: int) -> None:
        """Train everything from scratch; unfreeze a pre-trained backbone stage by stage."""
        self.model.train()
        if self._stages is None:
            return
        unfrozen_stages = self._stages[: 1 + epoch // self._options.unfreeze_epochs]
        prefixes = (
            "head.",
            *(f"backbone.{prefix}" for stage in unfrozen_stages for prefix in stage),
        )
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name.startswith(prefixes))
        for module in self.model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.train(module.weight.requires_grad)

    def load_batches(self, epoch: int) -> Iterable[tuple[Tensor, Tensor]]:
        """Load batches of W windows: inputs (W, K, ...) and targets (W, K, 2)."""
        return DataLoader(
            self._samples, batch_sampler=self._build_sampler(epoch), num_workers=self._data.workers
        )

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches of an epoch."""
        return len(self._build_sampler(0))

    def compute_loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Compute the concordance loss over all frames of the batch, ()."""
        inputs, targets = (part.to(self._ranks.device).flatten(0, 1) for part in batch)
        mask = torch.ones(len(targets), dtype=torch.bool, device=targets.device)
        return concordance_loss(model(inputs), targets, mask)

    @torch.inference_mode()
    def validate(self) -> Scores:
        """Compute the CCC over every n-th usable frame of the validation recordings."""
        self.model.eval()
        estimates: list[Float32Array] = []
        truths: list[Float32Array] = []
        source = self._data.source
        for recording in self._data.validation:
            rows = np.flatnonzero(source.usable_rows(recording))[:: self._options.validation_stride]
            for first in range(0, len(rows), _FRAME_BATCH_SIZE):
                part = rows[first : first + _FRAME_BATCH_SIZE]
                inputs = source.read_samples(recording, part.tolist(), None, (0, 0, 0))
                estimates.append(self.model(inputs.to(self._ranks.device)).cpu().numpy())
                truths.append(recording.targets[part])
        return compute_scores_of_recordings(estimates, truths)

    def _build_sampler(self, epoch: int) -> EpochBatchSampler:
        return EpochBatchSampler(
            len(self._samples),
            epoch=epoch,
            batch_size=self._options.backbone.batch_windows,
            seed=self._options.seed,
            rank=self._ranks.rank,
            world_size=self._ranks.size,
        )
