"""Reading of the samples that an int8 export is calibrated on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from service.domain.audio_grid import patch_start_hop
from training.data.crops import read_crop
from training.data.errors import CropsNotFound, VideoNotFound
from training.data.layout import Recording, read_dataset
from training.data.video import read_video
from training.inference.calibration_samples import CalibrationSamples
from training.networks.log_mel import LogMel, LogMelConfig

_RECORDINGS: Final = 16
_ROWS: Final = 8
"""Crops of each recording, and as many patches, each evenly spaced."""


def read_samples(dataset: Path) -> CalibrationSamples:
    """Read samples of at most 16 recordings of a data set, evenly spaced.

    Raises: DatasetError: it has none that has both a face and a video, or one cannot be read.
    """
    recordings = [each for each in read_dataset(dataset) if each.has_face.any()]
    if not recordings:
        raise CropsNotFound(f"{dataset}: no recording has a face")
    recordings = [each for each in recordings if each.video is not None]
    if not recordings:
        raise VideoNotFound(f"{dataset}: no recording with a face has a video")
    chosen = [recordings[place] for place in _spread(len(recordings), _RECORDINGS)]
    log_mel = LogMel(LogMelConfig()).eval()
    return CalibrationSamples(
        crops=torch.cat([_read_crops(each) for each in chosen]),
        patches=torch.cat([_cut_patches(each, log_mel) for each in chosen]),
    )


def _read_crops(recording: Recording) -> Tensor:
    rows = np.flatnonzero(recording.has_face)
    crops = [read_crop(recording.crop_file(int(rows[i]))) for i in _spread(len(rows), _ROWS)]
    return torch.as_tensor(np.stack(crops).transpose(0, 3, 1, 2).copy())


@torch.inference_mode()
def _cut_patches(recording: Recording, log_mel: LogMel) -> Tensor:
    assert recording.video is not None
    times, waveform = read_video(recording.video)
    starts = [patch_start_hop(float(times[i])) for i in _spread(len(times), _ROWS)]
    return log_mel(torch.as_tensor(waveform), torch.tensor(starts))


def _spread(count: int, limit: int) -> Sequence[int]:
    """Return at most so many places of a list, evenly spaced."""
    places: list[int] = np.linspace(0, count - 1, min(count, limit)).astype(int).tolist()
    return places
