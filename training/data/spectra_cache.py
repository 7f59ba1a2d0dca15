"""Log-mel spectra of every video on disk: decoded once, cut into patches as needed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from service.domain.array_types import Float32Array
from service.domain.audio_grid import HOP_SAMPLES, WINDOW_SAMPLES, patch_start_hop
from training.data.files import open_tensors, replace_tensors
from training.data.layout import Recording
from training.data.video import Seconds, extend_times, read_video
from training.networks.log_mel import LogMel

_LOG: Final = logging.getLogger(__name__)
_SPECTRA_BATCH_SIZE: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioSpectra:
    """Log-mel spectra of one video, and its frame times.

    times: (F,) seconds, empty without a video; spectra: (H, 64) log-mel, one every 10 ms from
    time 0; silence: (64,) log-mel of silence, used before and after them.
    """

    times: Seconds
    spectra: Tensor
    silence: Tensor

    def compute_row_times(self, rows: int, rate_hz: float) -> Seconds:
        """Return one time per annotated row, (T,) seconds."""
        return extend_times(self.times, rows, rate_hz)

    def cut_patches(self, times: Seconds, patch_hops: int) -> Tensor:
        """Cut the patches of frames at these times, (T, 96, 64), equal to `LogMel`'s."""
        starts = torch.tensor([patch_start_hop(seconds) for seconds in times.tolist()])
        hops = starts[:, None] + torch.arange(patch_hops)
        is_inside = (hops >= 0) & (hops < len(self.spectra))
        if not len(self.spectra):
            return self.silence.expand(*hops.shape, -1).clone()
        patches = self.spectra[hops.clamp(0, len(self.spectra) - 1)]
        return torch.where(is_inside[..., None], patches, self.silence)


class SpectraCache:
    """Computes spectra on first use and stores them, one file per subject."""

    def __init__(self, folder: Path, log_mel: LogMel) -> None:
        self._folder = folder
        self._log_mel = log_mel

    def prepare(self, recordings: Sequence[Recording]) -> None:
        """Compute missing spectra; logs a warning for each missing video."""
        subjects = {recording.subject: recording for recording in recordings}
        for subject, recording in sorted(subjects.items()):
            if not self._file_path(subject).is_file():
                self._write(recording)

    def read(self, recording: Recording) -> AudioSpectra:
        """Read a recording's spectra; computes them if needed. Raises: VideoUnreadable."""
        file = self._file_path(recording.subject)
        if not file.is_file():
            self._write(recording)
        with open_tensors(file, "pt") as stored:
            return AudioSpectra(
                times=stored.get_tensor("times").numpy(),
                spectra=stored.get_tensor("spectra"),
                silence=stored.get_tensor("silence"),
            )

    def _write(self, recording: Recording) -> None:
        times: Seconds = np.zeros(0)
        waveform: Float32Array = np.zeros(0, np.float32)
        if recording.video is None:
            _LOG.warning("%s has no video: silence, times from the rate", recording.subject)
        else:
            times, waveform = read_video(recording.video)
        tensors = {
            "times": torch.as_tensor(times.copy()),
            "spectra": self._compute_spectra(waveform),
            "silence": self._log_mel.compute_spectra(torch.zeros(1, WINDOW_SAMPLES))[
                0
            ].contiguous(),
        }
        replace_tensors(self._file_path(recording.subject), tensors)

    @torch.inference_mode()
    def _compute_spectra(self, waveform: Float32Array) -> Tensor:
        if not len(waveform):
            return torch.zeros(0, len(self._log_mel.bands[0]))
        hops = -(-len(waveform) // HOP_SAMPLES)
        padded = np.pad(waveform, (0, hops * HOP_SAMPLES + WINDOW_SAMPLES - len(waveform)))
        frames = torch.as_tensor(padded).unfold(0, WINDOW_SAMPLES, HOP_SAMPLES)[:hops]
        batches = torch.split(frames, _SPECTRA_BATCH_SIZE)
        return torch.cat([self._log_mel.compute_spectra(batch) for batch in batches])

    def _file_path(self, subject: str) -> Path:
        return self._folder / f"{subject}.safetensors"
