"""Log-mel spectra of every video on disk: decoded once, cut into patches as needed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from service.domain.array_types import Float32Array
from service.domain.audio_grid import HOP_SAMPLES, WINDOW_SAMPLES, patch_start_hop
from training.data.cache_files import make_cache_key, open_cached, write_cached
from training.data.errors import VideoNotFound, VideoTooShort, VideoUnreadable
from training.data.layout import Recording
from training.data.sources import SourceDigests
from training.data.video import Seconds, extend_times, read_video
from training.networks.log_mel import LogMel

_LOG: Final = logging.getLogger(__name__)
_SPECTRA_BATCH_SIZE: Final = 4096
_FORMAT: Final = 2
"""Raise it when other values are computed from the same video."""
SOURCES_FOLDER: Final = "sources"


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
    """Computes spectra on first use and stores them, one file per video.

    A file is used only if it was computed from the content of this very video.
    """

    def __init__(
        self,
        folder: Path,
        log_mel: LogMel,
        *,
        sources: SourceDigests | None = None,
        allow_missing_audio: bool = False,
    ) -> None:
        """Open the cache in a folder; `sources` are stored beside it by default.

        Args: allow_missing_audio: what a missing, broken or short video lacks is silence.
        """
        self.sources = sources or SourceDigests(folder.parent / SOURCES_FOLDER)
        self._folder = folder
        self._log_mel = log_mel
        self._allow_missing_audio = allow_missing_audio
        self._keys: dict[tuple[str, Path | None], str] = {}

    def prepare(self, recordings: Sequence[Recording]) -> Iterator[Recording]:
        """Compute missing spectra; yields every recording once its spectra are stored.

        Raises: VideoNotFound, VideoUnreadable, VideoTooShort, DatasetChanged.
        """
        for recording in recordings:
            spectra = self.read(recording)
            self._check_length(recording, len(spectra.times))
            yield recording

    def read(self, recording: Recording) -> AudioSpectra:
        """Read a recording's spectra; computes them if needed.

        Raises: VideoNotFound, VideoUnreadable, DatasetChanged.
        """
        file, key = self._file_path(recording), self.compute_key(recording)
        with open_cached(file, key, "pt") as stored:
            if stored is not None:
                return AudioSpectra(
                    times=stored.get_tensor("times").numpy(),
                    spectra=stored.get_tensor("spectra"),
                    silence=stored.get_tensor("silence"),
                )
        spectra = self._compute(recording)
        self.sources.check_unchanged(recording)
        tensors = {
            "times": torch.as_tensor(spectra.times.copy()),
            "spectra": spectra.spectra,
            "silence": spectra.silence,
        }
        write_cached(file, key, tensors)
        return spectra

    def compute_key(self, recording: Recording) -> str:
        """Return the key of a recording's spectra, which stays the same in this process."""
        video = (recording.video_name, recording.video)
        if video not in self._keys:
            log_mel = self._log_mel
            sizes = (log_mel.window_samples, log_mel.hop_samples, log_mel.fft_length)
            self._keys[video] = make_cache_key(
                kind="spectra",
                format=_FORMAT,
                video=self.sources.digest_video(recording),
                allow_missing_audio=self._allow_missing_audio,
                log_mel=[*sizes, log_mel.log_offset],
                bands=hashlib.sha256(log_mel.bands.cpu().numpy().tobytes()).hexdigest(),
            )
        return self._keys[video]

    def _compute(self, recording: Recording) -> AudioSpectra:
        times, waveform = self._read_video(recording)
        silence = self._log_mel.compute_spectra(torch.zeros(1, WINDOW_SAMPLES))
        return AudioSpectra(
            times=times,
            spectra=self._compute_spectra(waveform),
            silence=silence[0].contiguous(),
        )

    def _read_video(self, recording: Recording) -> tuple[Seconds, Float32Array]:
        try:
            if recording.video is None:
                raise VideoNotFound(recording.name)
            return read_video(recording.video)
        except (VideoNotFound, VideoUnreadable) as error:
            if not self._allow_missing_audio:
                raise
            _LOG.warning("%s: silence, times from the rate", error)
            return np.zeros(0), np.zeros(0, np.float32)

    def _check_length(self, recording: Recording, frame_count: int) -> None:
        if frame_count + count_tolerated_rows(len(recording)) >= len(recording):
            return
        error = VideoTooShort(
            f"{recording.video}: {frame_count} frames, {recording.name} has {len(recording)} rows"
        )
        if not self._allow_missing_audio:
            raise error
        if frame_count:
            _LOG.warning("%s: silence, times from its rate", error)

    @torch.inference_mode()
    def _compute_spectra(self, waveform: Float32Array) -> Tensor:
        if not len(waveform):
            return torch.zeros(0, len(self._log_mel.bands[0]))
        hops = -(-len(waveform) // HOP_SAMPLES)
        padded = np.pad(waveform, (0, hops * HOP_SAMPLES + WINDOW_SAMPLES - len(waveform)))
        frames = torch.as_tensor(padded).unfold(0, WINDOW_SAMPLES, HOP_SAMPLES)[:hops]
        batches = torch.split(frames, _SPECTRA_BATCH_SIZE)
        return torch.cat([self._log_mel.compute_spectra(batch) for batch in batches])

    def _file_path(self, recording: Recording) -> Path:
        return self._folder / f"{recording.video_name}.safetensors"


def count_tolerated_rows(row_count: int) -> int:
    """Return by how many rows an annotation may be longer than its video: 2 %, at least 30 [I]."""
    return max(30, row_count // 50)
