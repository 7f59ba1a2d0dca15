"""Whole recordings through the folds: windows, padding, masks and merging by the service's code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import nn

from service.domain.arrays import Booleans, Floats
from service.domain.signatures import TARGETS
from service.domain.smoothing import Sample, Smoother
from service.domain.windows import Answer, Features, Merger, Window, Windower
from training.data.embeddings import Embeddings
from training.data.layout import Recording
from training.data.sound import Seconds
from training.data.windows import Grid

_WINDOWS_AT_ONCE: Final = 12
SMOOTHING_SECONDS: Final = 0.2
"""The service's default."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timeline:
    """What the folds say of every frame of a recording.

    folds: (F, T, 2); mean, spread, smoothed: (T, 2); known: (T,), False where no face has been
    seen yet: the numbers there mean nothing. The spread is not calibrated.
    """

    folds: Floats
    mean: Floats
    spread: Floats
    smoothed: Floats
    known: Booleans
    times: Seconds


class Estimator:
    """Estimates recordings from their embeddings."""

    def __init__(
        self,
        embeddings: Embeddings,
        grid: Grid,
        device: torch.device,
        alter: Callable[[Features], Features],
    ) -> None:
        """Args: alter: what an ablation does to the features."""
        self._embeddings = embeddings
        self._grid = grid
        self._device = device
        self._alter = alter

    def estimate(self, folds: Sequence[nn.Module], recording: Recording) -> Timeline:
        """Put a recording through folds in evaluation mode."""
        features = self._alter(self._embeddings.features(recording))
        windower = Windower(
            window_frames=self._grid.window_frames, hop_frames=self._grid.hop_frames
        )
        windows = [*windower.add(features), *windower.close()]
        answers = self._answer(folds, windows)
        each = [self._merge(answer[fold][None] for answer in answers) for fold in range(len(folds))]
        ensemble = self._merge(answers)
        times = self._embeddings.times(recording)
        return Timeline(
            folds=np.stack([fold.mean for fold in each]),
            mean=ensemble.mean,
            spread=ensemble.spread,
            smoothed=smooth(times, ensemble.mean, features.known),
            known=features.known,
            times=times,
        )

    @torch.inference_mode()
    def _answer(self, folds: Sequence[nn.Module], windows: Sequence[Window]) -> list[Floats]:
        """For each window, (F, T, 2): its real frames in every fold."""
        answers: list[Floats] = []
        for first in range(0, len(windows), _WINDOWS_AT_ONCE):
            batch = windows[first : first + _WINDOWS_AT_ONCE]
            parts = [(w.features.visual, w.features.audio, w.features.known) for w in batch]
            inputs = [
                torch.from_numpy(np.stack(part)).to(self._device)
                for part in zip(*parts, strict=True)
            ]
            stacked = torch.stack([fold(*inputs) for fold in folds]).cpu().numpy()
            answers += [stacked[:, place, : window.frames] for place, window in enumerate(batch)]
        return answers

    def _merge(self, answers: Iterable[Floats]) -> Answer:
        """(F, T, 2) of every window to the mean and the biased deviation of every frame."""
        merger = Merger(hop_frames=self._grid.hop_frames)
        parts = [merger.add(Answer(mean=a.mean(axis=0), spread=a.std(axis=0))) for a in answers]
        parts.append(merger.close())
        return Answer(
            mean=np.concatenate([part.mean for part in parts]),
            spread=np.concatenate([part.spread for part in parts]),
        )


def smooth(times: Seconds, values: Floats, known: Booleans) -> Floats:
    """(T, 2) smoothed as the service does by default; unknown frames neither give nor get."""
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
