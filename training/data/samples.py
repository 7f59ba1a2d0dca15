"""Training samples of the backbones: a few frames of each window of the serving grid."""

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

Modality = Literal["visual", "audio"]
SampleKey = tuple[int, int]
"""Epoch and window index, which determine an item's random draw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowGrid:
    """Windows of `window_frames` frames, one every `hop_frames` [L].

    The same grid as `service.domain.windows.Windower`, without the frames.
    """

    window_frames: int = 300
    hop_frames: int = 200

    def window_starts(self, frame_count: int) -> list[int]:
        """Return the first frame of every window; every frame is in at least one window."""
        overlap = self.window_frames - self.hop_frames
        last = max(0, -(-(frame_count - overlap) // self.hop_frames) - 1)
        return [window * self.hop_frames for window in range(last + 1)] if frame_count else []


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSource:
    """Reads the crops or log-mel patches of a recording's rows."""

    modality: Modality
    spectra: SpectraCache
    rate_hz: float

    def usable_rows(self, recording: Recording) -> BoolArray:
        """Return a (T,) mask of the annotated rows, for "visual" only those with a face."""
        is_usable = recording.is_annotated
        return is_usable & recording.has_face if self.modality == "visual" else is_usable

    def read_samples(
        self,
        recording: Recording,
        rows: Sequence[int],
        augmentation: Augmentation | None,
        key: SeededSampleKey,
    ) -> Tensor:
        """Read (K, 3, 112, 112) uint8 crops or (K, 96, 64) patches."""
        if self.modality == "audio":
            track = self.spectra.read(recording)
            times = track.compute_row_times(len(recording), self.rate_hz)
            return track.cut_patches(times[list(rows)], PATCH_HOPS)
        crops = np.stack([read_crop(recording.crop_file(row)) for row in rows])
        if augmentation is not None:
            crops = augmentation.apply(crops, np.random.default_rng((*key, 1)))
        return torch.as_tensor(crops).permute(0, 3, 1, 2).contiguous()


SeededSampleKey = tuple[int, int, int]
"""Seed, epoch and window index."""


class FrameDataset(Dataset[tuple[Tensor, Tensor]]):
    """Item (epoch, window): a few usable frames of that window and their targets.

    The draw depends on seed, epoch and window only, not on order, worker or process.
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
        """Return inputs (K, ...) and targets (K, 2)."""
        epoch, window = draw
        recording, rows = self._windows[window]
        key = (self._seed, epoch, window)
        selected_rows = _sample_evenly(rows, self._frames, np.random.default_rng(key))
        inputs = self._source.read_samples(recording, selected_rows, self._augmentation, key)
        return inputs, torch.as_tensor(recording.targets[selected_rows])


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
    """Draw one row from each of `count` equal parts of the window, to spread them in time."""
    places = (np.arange(count) + rng.random(count)) * len(rows) / count
    return rows[places.astype(np.int64)].tolist()


class EpochBatchSampler(Sampler[list[SampleKey]]):
    """Batches of one epoch, shuffled by seed and epoch, distributed round-robin to processes.

    Every process gets the same number of batches; the last ones wrap around.
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
