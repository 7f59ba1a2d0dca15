"""Frames to teach the backbones with: windows of the serving grid, a few frames of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from service.domain.array_types import BoolArray, Int64Array
from service.domain.audio_grid import PATCH_HOPS
from training.data.augmentation import Augmentation
from training.data.crops import read_crop
from training.data.errors import NoAnnotatedFrames
from training.data.layout import Recording
from training.data.spectra_cache import SpectraCache
from training.data.window_grid import WindowGrid

Modality = Literal["visual", "audio"]
SampleKey = tuple[int, int]
"""An epoch and a window: what an item is drawn from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSource:
    """Where crops or patches of a recording's rows come from."""

    modality: Modality
    spectra: SpectraCache
    rate_hz: float

    def usable_rows(self, recording: Recording) -> BoolArray:
        """(T,) the rows that teach: annotated, and seen if it is faces that teach."""
        is_usable = recording.is_annotated
        return is_usable & recording.has_face if self.modality == "visual" else is_usable

    def read_samples(
        self,
        recording: Recording,
        rows: Sequence[int],
        augmentation: Augmentation | None,
        key: SeededSampleKey,
    ) -> Tensor:
        """(K, 3, 112, 112) uint8 crops or (K, 96, 64) patches."""
        if self.modality == "audio":
            track = self.spectra.read(recording)
            times = track.compute_row_times(len(recording), self.rate_hz)
            return track.cut_patches(times[list(rows)], PATCH_HOPS)
        crops = np.stack([read_crop(recording.crops_folder, row) for row in rows])
        if augmentation is not None:
            crops = augmentation.apply(crops, np.random.default_rng((*key, 1)))
        return torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous()


SeededSampleKey = tuple[int, int, int]
"""A seed, an epoch and a window."""


class FrameDataset(Dataset[tuple[Tensor, Tensor]]):
    """Item (epoch, window): a few usable frames of that window and their targets.

    The draw depends on seed, epoch and window alone: not on order, worker or process.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        source: SampleSource,
        *,
        grid: WindowGrid,
        frames_per_window: int,
        augmentation: Augmentation | None,
        seed: int,
    ) -> None:
        self._source = source
        self._frames = frames_per_window
        self._augmentation = augmentation
        self._seed = seed
        self._windows = list(_iter_windows(recordings, source, grid))
        if not self._windows:
            raise NoAnnotatedFrames(f"no window has a frame for the {source.modality} backbone")

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, draw: SampleKey) -> tuple[Tensor, Tensor]:
        """Inputs (K, ...) and targets (K, 2)."""
        epoch, window = draw
        recording, rows = self._windows[window]
        key = (self._seed, epoch, window)
        selected_rows = _sample_evenly(rows, self._frames, np.random.default_rng(key))
        inputs = self._source.read_samples(recording, selected_rows, self._augmentation, key)
        return inputs, torch.from_numpy(recording.targets[selected_rows])


def _iter_windows(
    recordings: Sequence[Recording], source: SampleSource, grid: WindowGrid
) -> Iterator[tuple[Recording, Int64Array]]:
    for recording in recordings:
        usable = source.usable_rows(recording)
        for start in grid.window_starts(len(recording)):
            rows = start + np.flatnonzero(usable[start : start + grid.window_frames])
            if len(rows):
                yield recording, rows


def _sample_evenly(rows: Int64Array, count: int, rng: np.random.Generator) -> list[int]:
    """One row out of each of `count` equal parts of the window, so that they differ in time."""
    places = (np.arange(count) + rng.random(count)) * len(rows) / count
    return rows[places.astype(np.int64)].tolist()


class EpochBatchSampler(Sampler[list[SampleKey]]):
    """The batches of one epoch, shuffled by seed and epoch, dealt to the processes in turn.

    Every process gets as many batches as the others; the last ones wrap around.
    """

    def __init__(
        self,
        window_count: int,
        *,
        epoch: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        order = np.random.default_rng((seed, epoch)).permutation(window_count)
        stride = batch_size * world_size
        padded = (
            np.resize(order, -(-window_count // world_size) * world_size)
            if world_size > 1
            else order
        )
        self._batches = [
            [(epoch, int(window)) for window in padded[start : start + stride][rank::world_size]]
            for start in range(0, len(padded), stride)
        ]

    def __iter__(self) -> Iterator[list[SampleKey]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)
