"""Training stage 2: a fold's TCNs, encoder and heads are trained on windows of embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from service.domain.array_types import Float32Array
from service.domain.windows import Features
from training.data.embeddings import EmbeddingStore
from training.data.errors import NoAnnotatedFrames
from training.data.layout import Recording
from training.data.samples import EpochBatchSampler, SampleKey, WindowGrid
from training.evaluation.timelines import TimelineEstimator
from training.loop.options import Ablation, TrainingOptions
from training.losses import concordance_loss
from training.metrics import Scores, compute_scores_of_recordings

WindowBatch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""visual (B, T, 512), audio (B, T, 128), mask (B, T), targets (B, T, 2), is_scored (B, T)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldData:
    """Recordings that a fold is trained and validated on, and their embeddings."""

    training: Sequence[Recording]
    validation: Sequence[Recording]
    embeddings: EmbeddingStore


class WindowDataset(Dataset[WindowBatch]):
    """Item (epoch, window): a padded and masked window, cut as in serving, with its targets."""

    def __init__(self, data: FoldData, grid: WindowGrid, ablation: Ablation | None) -> None:
        self._embeddings = data.embeddings
        self._grid = grid
        self._ablation = ablation
        self._windows = [
            (recording, start)
            for recording in data.training
            for start in grid.window_starts(len(recording))
            if recording.is_annotated[start : start + grid.window_frames].any()
        ]
        if not self._windows:
            raise NoAnnotatedFrames("no window to train a fold with")

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, draw: SampleKey) -> WindowBatch:
        """Return the tensors of one window of T frames, without the batch dimension."""
        recording, start = self._windows[draw[1]]
        stop = min(start + self._grid.window_frames, len(recording))
        features = self._embeddings.read_features(recording, start, stop)
        padding = self._grid.window_frames - len(features)
        targets = np.pad(recording.targets[start:stop], ((0, padding), (0, 0)))
        is_scored = np.pad(recording.is_annotated[start:stop] & features.mask, (0, padding))
        padded = zero_ablated_modality(features.pad(self._grid.window_frames), self._ablation)
        parts = (padded.visual, padded.audio, padded.mask, targets, is_scored)
        visual, audio, mask, truth, counts = map(torch.as_tensor, parts)
        return visual, audio, mask, truth, counts


def zero_ablated_modality(features: Features, ablation: Ablation | None) -> Features:
    """Replace the ablated modality's features by zeros."""
    match ablation:
        case Ablation.FACE_ONLY:
            return Features(
                visual=features.visual,
                audio=np.zeros_like(features.audio),
                mask=features.mask,
            )
        case Ablation.VOICE_ONLY:
            return Features(
                visual=np.zeros_like(features.visual),
                audio=features.audio,
                mask=features.mask,
            )
        case _:
            return features


class FoldTask:
    """Training task of one fold."""

    def __init__(
        self,
        fold: int,
        model: nn.Module,
        data: FoldData,
        *,
        options: TrainingOptions,
        device: torch.device,
    ) -> None:
        self.name = f"fold {fold}"
        self.model = model
        self._data = data
        self._options = options
        self._device = device
        self._seed = options.seed * 1000 + fold
        self._samples = WindowDataset(data, options.grid, options.ablation)
        self._estimator = TimelineEstimator(
            data.embeddings,
            options.grid,
            device,
            lambda part: zero_ablated_modality(part, options.ablation),
        )

    def set_trainable(self, epoch: int) -> None:  # noqa: ARG002 - of the protocol TrainingTask
        """Switch to training mode; every parameter is trained in every epoch."""
        self.model.train()

    def load_batches(self, epoch: int) -> Iterable[WindowBatch]:
        """Load the batches of windows of the epoch."""
        return DataLoader(self._samples, batch_sampler=self._build_sampler(epoch))

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches of an epoch."""
        return len(self._build_sampler(0))

    def compute_loss(self, model: nn.Module, batch: WindowBatch) -> Tensor:
        """Compute the loss over the annotated frames after the first face, ()."""
        visual, audio, mask, targets, is_scored = (part.to(self._device) for part in batch)
        estimate = model(visual, audio, mask)
        if not is_scored.any():
            return estimate.sum() * 0.0
        return concordance_loss(estimate, targets, is_scored)

    def validate(self) -> Scores:
        """Compute the CCC on the merged timelines of the validation recordings."""
        self.model.eval()
        estimates: list[Float32Array] = []
        truths: list[Float32Array] = []
        for recording in self._data.validation:
            timeline = self._estimator.estimate([self.model], recording)
            scored = recording.is_annotated & timeline.known
            estimates.append(timeline.folds[0][scored])
            truths.append(recording.targets[scored])
        return compute_scores_of_recordings(estimates, truths)

    def _build_sampler(self, epoch: int) -> EpochBatchSampler:
        batch = self._options.fold.batch_windows
        return EpochBatchSampler(len(self._samples), epoch=epoch, batch_size=batch, seed=self._seed)
