"""Frames to teach the backbones with: windows of the serving grid, a few frames of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from service.domain.arrays import Booleans, Integers
from service.domain.time import PATCH_HOPS
from training.data.augmentation import Augmentation
from training.data.crops import read_crop
from training.data.errors import NothingAnnotated
from training.data.layout import Recording
from training.data.tracks import Tracks
from training.data.windows import Grid

Modality = Literal["visual", "audio"]
Draw = tuple[int, int]
"""An epoch and a window: what an item is drawn from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where crops or patches of a recording's rows come from."""

    modality: Modality
    tracks: Tracks
    rate_hz: float

    def usable(self, recording: Recording) -> Booleans:
        """(T,) the rows that teach: annotated, and seen if it is faces that teach."""
        heard = recording.annotated
        return heard & recording.faces if self.modality == "visual" else heard

    def read(
        self, recording: Recording, rows: Sequence[int], move: Augmentation | None, draw: Draw3
    ) -> Tensor:
        """(K, 3, 112, 112) uint8 crops or (K, 96, 64) patches."""
        if self.modality == "audio":
            track = self.tracks.read(recording)
            times = track.row_times(len(recording), self.rate_hz)
            return track.patches(times[list(rows)], PATCH_HOPS)
        crops = np.stack([read_crop(recording.crops, row) for row in rows])
        if move is not None:
            crops = move.apply(crops, np.random.default_rng((*draw, 1)))
        return torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous()


Draw3 = tuple[int, int, int]
"""A seed, an epoch and a window."""


class FrameSamples(Dataset[tuple[Tensor, Tensor]]):
    """Item (epoch, window): a few usable frames of that window and their targets.

    The draw depends on seed, epoch and window alone: not on order, worker or process.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        source: Source,
        *,
        grid: Grid,
        frames_per_window: int,
        augmentation: Augmentation | None,
        seed: int,
    ) -> None:
        self._source = source
        self._frames = frames_per_window
        self._augmentation = augmentation
        self._seed = seed
        self._windows = list(_windows(recordings, source, grid))
        if not self._windows:
            raise NothingAnnotated(f"no window has a frame for the {source.modality} backbone")

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """Inputs (K, ...) and targets (K, 2)."""
        epoch, window = draw
        recording, rows = self._windows[window]
        key = (self._seed, epoch, window)
        chosen = _spread(rows, self._frames, np.random.default_rng(key))
        inputs = self._source.read(recording, chosen, self._augmentation, key)
        return inputs, torch.from_numpy(recording.targets[chosen])


def _windows(
    recordings: Sequence[Recording], source: Source, grid: Grid
) -> Iterator[tuple[Recording, Integers]]:
    for recording in recordings:
        usable = source.usable(recording)
        for start in grid.starts(len(recording)):
            rows = start + np.flatnonzero(usable[start : start + grid.window_frames])
            if len(rows):
                yield recording, rows


def _spread(rows: Integers, count: int, draw: np.random.Generator) -> list[int]:
    """One row out of each of `count` equal parts of the window, so that they differ in time."""
    places = (np.arange(count) + draw.random(count)) * len(rows) / count
    return rows[places.astype(np.int64)].tolist()


class EpochBatches(Sampler[list[Draw]]):
    """The batches of one epoch, shuffled by seed and epoch, dealt to the processes in turn.

    Every process gets as many batches as the others; the last ones wrap around.
    """

    def __init__(
        self, windows: int, *, epoch: int, batch: int, seed: int, rank: int = 0, ranks: int = 1
    ) -> None:
        order = np.random.default_rng((seed, epoch)).permutation(windows)
        stride = batch * ranks
        padded = np.resize(order, -(-windows // ranks) * ranks) if ranks > 1 else order
        self._batches = [
            [(epoch, int(window)) for window in padded[start : start + stride][rank::ranks]]
            for start in range(0, len(padded), stride)
        ]

    def __iter__(self) -> Iterator[list[Draw]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)
