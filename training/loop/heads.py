"""Second stage: one fold's temporal networks and heads learn from windows of embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from service.domain.arrays import Floats
from service.domain.windows import Features
from training.data.embeddings import Embeddings
from training.data.errors import NothingAnnotated
from training.data.layout import Recording
from training.data.samples import Draw, EpochBatches
from training.data.windows import Grid
from training.evaluation.timelines import Estimator
from training.loop.options import Ablation, Options
from training.losses import concordance_loss
from training.metrics import Scores, score_parts

Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""visual (B, T, 512), audio (B, T, 128), mask (B, T), targets (B, T, 2), taught (B, T)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """What a fold learns from and is validated with."""

    training: Sequence[Recording]
    validation: Sequence[Recording]
    embeddings: Embeddings


class WindowSamples(Dataset[Batch]):
    """Item (epoch, window): the window as serving cuts it, with its targets, padded and masked."""

    def __init__(self, lessons: Lessons, grid: Grid, ablation: Ablation | None) -> None:
        self._embeddings = lessons.embeddings
        self._grid = grid
        self._ablation = ablation
        self._windows = [
            (recording, start)
            for recording in lessons.training
            for start in grid.starts(len(recording))
            if recording.annotated[start : start + grid.window_frames].any()
        ]
        if not self._windows:
            raise NothingAnnotated("no window to train a fold with")

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, draw: Draw) -> Batch:
        """Tensors of one window, T its full length."""
        recording, start = self._windows[draw[1]]
        stop = min(start + self._grid.window_frames, len(recording))
        features = self._embeddings.features(recording, start, stop)
        padding = self._grid.window_frames - len(features)
        targets = np.pad(recording.targets[start:stop], ((0, padding), (0, 0)))
        taught = np.pad(recording.annotated[start:stop] & features.known, (0, padding))
        whole = mute(features.pad(self._grid.window_frames), self._ablation)
        parts = (whole.visual, whole.audio, whole.known, targets, taught)
        visual, audio, mask, truth, counts = map(torch.from_numpy, parts)
        return visual, audio, mask, truth, counts


def mute(features: Features, ablation: Ablation | None) -> Features:
    """The features without the modality that is left out: zeros in its place."""
    match ablation:
        case Ablation.FACE_ONLY:
            return Features(
                visual=features.visual,
                audio=np.zeros_like(features.audio),
                known=features.known,
            )
        case Ablation.VOICE_ONLY:
            return Features(
                visual=np.zeros_like(features.visual),
                audio=features.audio,
                known=features.known,
            )
        case _:
            return features


class FoldPart:
    """One fold as a part to fit."""

    def __init__(
        self,
        fold: int,
        model: nn.Module,
        lessons: Lessons,
        *,
        options: Options,
        device: torch.device,
    ) -> None:
        self.name = f"fold {fold}"
        self.model = model
        self._lessons = lessons
        self._options = options
        self._device = device
        self._seed = options.seed * 1000 + fold
        self._samples = WindowSamples(lessons, options.grid, options.ablation)
        self._estimator = Estimator(
            lessons.embeddings, options.grid, device, lambda part: mute(part, options.ablation)
        )

    def thaw(self, epoch: int) -> None:  # noqa: ARG002
        """Everything learns, from the first epoch on."""
        self.model.train()

    def batches(self, epoch: int) -> Iterable[Batch]:
        """The epoch's windows."""
        return DataLoader(self._samples, batch_sampler=self._sampler(epoch))

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return len(self._sampler(0))

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The concordance loss over the annotated frames of the batch that have a face to go by."""
        visual, audio, mask, targets, taught = (part.to(self._device) for part in batch)
        estimate = model(visual, audio, mask)
        if not taught.any():
            return estimate.sum() * 0.0
        return concordance_loss(estimate, targets, taught)

    def validate(self) -> Scores:
        """On the stitched timelines of every held-out recording."""
        self.model.eval()
        estimates: list[Floats] = []
        truths: list[Floats] = []
        for recording in self._lessons.validation:
            timeline = self._estimator.estimate([self.model], recording)
            scored = recording.annotated & timeline.known
            estimates.append(timeline.folds[0][scored])
            truths.append(recording.targets[scored])
        return score_parts(estimates, truths)

    def _sampler(self, epoch: int) -> EpochBatches:
        batch = self._options.fold.batch_windows
        return EpochBatches(len(self._samples), epoch=epoch, batch=batch, seed=self._seed)
