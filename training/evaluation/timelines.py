"""Timelines of whole recordings: windows, padding, masks and merging by the service's code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import nn

from service.domain.array_types import BoolArray, Float32Array
from service.domain.model_signatures import TARGETS
from service.domain.smoothing import Sample, Smoother
from service.domain.windows import Features, FusionOutput, Merger, Window, Windower
from training.data.embeddings import EmbeddingStore
from training.data.layout import Recording
from training.data.samples import WindowGrid
from training.data.video import Seconds

_WINDOW_BATCH_SIZE: Final = 12
SMOOTHING_SECONDS: Final = 0.2
"""The service's default."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timeline:
    """Estimates of every frame of a recording.

    folds: (F, T, 2); mean, spread, smoothed: (T, 2); known: (T,), False before the first face,
    where the values are meaningless; voice: (T, 128). The spread is the folds' disagreement.
    """

    folds: Float32Array
    mean: Float32Array
    spread: Float32Array
    smoothed: Float32Array
    known: BoolArray
    voice: Float32Array
    times: Seconds


class TimelineEstimator:
    """Estimates recordings from their embeddings."""

    def __init__(
        self,
        embeddings: EmbeddingStore,
        grid: WindowGrid,
        device: torch.device,
        transform: Callable[[Features], Features],
    ) -> None:
        """Create an estimator; `transform` applies an ablation to the features."""
        self._embeddings = embeddings
        self._grid = grid
        self._device = device
        self._transform = transform

    def estimate(self, folds: Sequence[nn.Module], recording: Recording) -> Timeline:
        """Estimate a recording with folds in evaluation mode."""
        return self.estimate_features(
            folds, self._embeddings.read_features(recording), self._embeddings.read_times(recording)
        )

    def estimate_features(
        self, folds: Sequence[nn.Module], features: Features, times: Seconds
    ) -> Timeline:
        """Estimate the features of T frames at these times, (T,) seconds."""
        features = self._transform(features)
        windower = Windower(
            window_frames=self._grid.window_frames, hop_frames=self._grid.hop_frames
        )
        windows = [*windower.add(features), *windower.close()]
        predictions = self._predict(folds, windows)
        each = [
            self._merge(prediction[fold][None] for prediction in predictions)
            for fold in range(len(folds))
        ]
        ensemble = self._merge(predictions)
        return Timeline(
            folds=np.stack([fold.mean for fold in each]),
            mean=ensemble.mean,
            spread=ensemble.spread,
            smoothed=smooth_timeline(times, ensemble.mean, features.mask),
            known=features.mask,
            voice=features.audio,
            times=times,
        )

    @torch.inference_mode()
    def _predict(self, folds: Sequence[nn.Module], windows: Sequence[Window]) -> list[Float32Array]:
        """Predict each window's unpadded frames with every fold, (F, T, 2)."""
        predictions: list[Float32Array] = []
        for first in range(0, len(windows), _WINDOW_BATCH_SIZE):
            batch = windows[first : first + _WINDOW_BATCH_SIZE]
            parts = [(w.features.visual, w.features.audio, w.features.mask) for w in batch]
            inputs = [
                torch.as_tensor(np.stack(part)).to(self._device)
                for part in zip(*parts, strict=True)
            ]
            stacked = torch.stack([fold(*inputs) for fold in folds]).cpu().numpy()
            predictions += [
                stacked[:, place, : window.frames] for place, window in enumerate(batch)
            ]
        return predictions

    def _merge(self, predictions: Iterable[Float32Array]) -> FusionOutput:
        """Merge (F, T, 2) of every window to mean and biased deviation of every frame."""
        merger = Merger(hop_frames=self._grid.hop_frames)
        parts = [
            merger.add(FusionOutput(mean=a.mean(axis=0), spread=a.std(axis=0))) for a in predictions
        ]
        parts.append(merger.close())
        return FusionOutput(
            mean=np.concatenate([part.mean for part in parts]),
            spread=np.concatenate([part.spread for part in parts]),
        )


def smooth_timeline(times: Seconds, values: Float32Array, known: BoolArray) -> Float32Array:
    """Smooth a (T, 2) timeline with the service's default; unknown frames are skipped."""
    smoother = Smoother(sigma_seconds=SMOOTHING_SECONDS)
    smoothed: list[Sample] = []
    for seconds, (valence, arousal), seen in zip(
        times.tolist(), values.tolist(), known.tolist(), strict=True
    ):
        pair = (valence, arousal) if seen else None
        smoothed += smoother.add(Sample(time_seconds=seconds, values=pair))
    smoothed += smoother.close()
    pairs = [sample.values or (np.nan, np.nan) for sample in smoothed]
    return np.array(pairs, np.float32).reshape(-1, len(TARGETS))
