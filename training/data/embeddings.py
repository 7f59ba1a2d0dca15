"""Embeddings of every frame, computed once by the backbones and stored on disk.

They are computed by the exported modules, so that a fold trains on the embeddings it is served
with. Frames without a face take the last face's embedding, by the service's own code.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from service.domain.array_types import Float32Array, UInt8Array
from service.domain.audio_grid import PATCH_HOPS, patch_start_hop
from service.domain.forward_fill import ForwardFill
from service.domain.model_signatures import FACE_FEATURES, VOICE_FEATURES
from service.domain.windows import Features
from training.data.cache_files import is_cached, make_cache_key, open_cached, write_cached
from training.data.crops import read_crop
from training.data.errors import CacheReplaced
from training.data.files import StoredTensors
from training.data.layout import Recording
from training.data.spectra_cache import SpectraCache
from training.data.video import Seconds

_CROP_BATCH_SIZE: Final = 64
_PATCH_BATCH_SIZE: Final = 128
_FORMAT: Final = 2
"""Raise it when other values are computed from the same crops and spectra."""
_PROBED_TIMES: Final = tuple(frame / rate for rate in (24, 25, 30, 60) for frame in range(50))
"""Times whose patches tell one rounding of patch starts from another."""


class EmbeddingStore:
    """Stored embeddings of recordings.

    A file is used only if it was computed from the content of these crops and this video, by these
    weights; others are replaced by `prepare`, and refused when they are read.
    """

    def __init__(
        self, folder: Path, *, weights_key: str, spectra: SpectraCache, rate_hz: float
    ) -> None:
        self._folder = folder
        self._weights_key = weights_key
        self._spectra = spectra
        self._rate_hz = rate_hz
        self._keys: dict[tuple[str, Path, Path | None], str] = {}

    def prepare(
        self,
        recordings: Sequence[Recording],
        *,
        visual: nn.Module,
        audio: nn.Module,
        device: torch.device,
    ) -> Iterator[Recording]:
        """Compute missing embeddings; yields every recording once it is embedded.

        `visual` maps (N, 3, 112, 112) uint8 to (N, 512), `audio` maps (N, 96, 64) to (N, 128), both
        as served.

        Raises: CropUnreadable, VideoNotFound, VideoUnreadable, DatasetChanged.
        """
        for recording in recordings:
            if not is_cached(self._file_path(recording), self._compute_key(recording)):
                faces = _embed(visual, _iter_crop_batches(recording), FACE_FEATURES, device)
                times, patches = self._cut_patches(recording)
                voice = _embed(audio, patches, VOICE_FEATURES, device)
                self._write(recording, faces, voice, times)
            yield recording

    def read_features(
        self, recording: Recording, start: int = 0, stop: int | None = None
    ) -> Features:
        """Read the frames [start, stop): visual (T, 512), audio (T, 128), mask (T,).

        Raises: CacheReplaced: the stored ones are not those of this recording.
        """
        with self._open(recording) as stored:
            return Features(
                visual=stored.get_slice("visual")[start:stop],
                audio=stored.get_slice("audio")[start:stop],
                mask=stored.get_slice("known")[start:stop],
            )

    def read_times(self, recording: Recording) -> Seconds:
        """Read the time of every row, (T,) seconds. Raises: CacheReplaced."""
        with self._open(recording) as stored:
            return stored.get_tensor("times")

    def holds_others(self, recordings: Sequence[Recording]) -> bool:
        """Return whether a stored file is not of these recordings, and `prepare` replaces it."""
        files = [(self._file_path(recording), recording) for recording in recordings]
        return any(
            file.exists() and not is_cached(file, self._compute_key(recording))
            for file, recording in files
        )

    @contextmanager
    def _open(self, recording: Recording) -> Generator[StoredTensors]:
        file = self._file_path(recording)
        with open_cached(file, self._compute_key(recording)) as stored:
            if stored is None:
                raise CacheReplaced(f"{file}; repeat the command")
            yield stored

    def _compute_key(self, recording: Recording) -> str:
        files = (recording.name, recording.crops_folder, recording.video)
        if files not in self._keys:
            self._keys[files] = make_cache_key(
                kind="embeddings",
                format=_FORMAT,
                weights=self._weights_key,
                rate_hz=self._rate_hz,
                rows=len(recording),
                crops=self._spectra.sources.digest_crops(recording),
                spectra=self._spectra.compute_key(recording),
                patch_starts=[patch_start_hop(seconds) for seconds in _PROBED_TIMES],
            )
        return self._keys[files]

    def _cut_patches(self, recording: Recording) -> tuple[Seconds, Iterator[Tensor]]:
        track = self._spectra.read(recording)
        times = track.compute_row_times(len(recording), self._rate_hz)
        parts = range(0, len(times), _PATCH_BATCH_SIZE)
        cuts = (times[first : first + _PATCH_BATCH_SIZE] for first in parts)
        return times, (track.cut_patches(cut, PATCH_HOPS) for cut in cuts)

    def _write(
        self, recording: Recording, faces: Float32Array, voice: Float32Array, times: Seconds
    ) -> None:
        visual, known = ForwardFill().fill(recording.has_face, faces)
        tensors = {
            "visual": torch.as_tensor(visual),
            "audio": torch.as_tensor(voice),
            "known": torch.as_tensor(known),
            "times": torch.as_tensor(times.copy()),
        }
        self._spectra.sources.check_unchanged(recording)
        write_cached(self._file_path(recording), self._compute_key(recording), tensors)

    def _file_path(self, recording: Recording) -> Path:
        return self._folder / f"{recording.name}.safetensors"


def embed_crops(
    visual: nn.Module, crops: Iterable[UInt8Array], device: torch.device
) -> Float32Array:
    """Embed (112, 112, 3) crops with a backbone as served, (N, 512)."""
    return _embed(visual, _batch_crops(crops), FACE_FEATURES, device)


def _batch_crops(crops: Iterable[UInt8Array]) -> Iterator[Tensor]:
    remaining = iter(crops)
    while part := [*islice(remaining, _CROP_BATCH_SIZE)]:
        yield torch.as_tensor(np.stack(part).transpose(0, 3, 1, 2).copy())


def _iter_crop_batches(recording: Recording) -> Iterator[Tensor]:
    rows: list[int] = np.flatnonzero(recording.has_face).tolist()
    return _batch_crops(read_crop(recording.crop_file(row)) for row in rows)


@torch.inference_mode()
def _embed(
    backbone: nn.Module, parts: Iterator[Tensor], features: int, device: torch.device
) -> Float32Array:
    embedded = [backbone(part.to(device)).cpu().numpy() for part in parts]
    return np.concatenate([np.zeros((0, features), np.float32), *embedded])
