"""Features of the faces of recordings and the estimator's own estimates, computed once and stored.

Every n-th frame is looked at. As in serving, a frame without a face has the features of the last
face before it, whether that one is looked at or not.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch

from service.domain.array_types import BoolArray, Float32Array, Float64Array, Int64Array
from service.domain.model_signatures import FACE_FEATURES
from training.data.cache_files import is_cached, make_cache_key, open_cached, write_cached
from training.data.crops import read_crop
from training.data.errors import CacheReplaced, VideoNotFound, VideoTooShort, VideoUnreadable
from training.data.layout import Recording
from training.data.sources import SourceDigests
from training.data.spectra_cache import count_tolerated_rows
from training.data.video import Seconds, extend_times, read_packet_times
from training.head_fitting.errors import HeadFeaturesInvalid
from training.head_fitting.estimator_networks import EstimatorNetworks

_LOG: Final = logging.getLogger(__name__)
_FORMAT: Final = 1
"""Raise it when other values are computed from the same crops and videos."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookOptions:
    """Frames that are looked at, and their times.

    stride: every n-th frame. rate_hz: frames per second of a recording without a usable video.
    workers: recordings at a time, each on one core.
    """

    stride: int = 5
    rate_hz: float = 30.0
    allow_missing_video: bool = False
    workers: int = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FaceFeatures:
    """The N frames of one recording that were looked at.

    rows: (N,) of the recording; times: (N,) seconds; absent_seconds: (N,) since the last face;
    known: (N,), False before the first face; features: (N, K), zero where not known; estimates:
    (N, 2), the estimator's own, not smoothed.
    """

    rows: Int64Array
    times: Seconds
    absent_seconds: Float64Array
    known: BoolArray
    features: Float64Array
    estimates: Float64Array


class FaceFeatureStore:
    """Stored features of recordings.

    A file is used only if it was computed from the content of these crops and this video, by these
    networks; others are replaced by `prepare`, and refused when they are read.
    """

    def __init__(self, folder: Path, networks: EstimatorNetworks, options: LookOptions) -> None:
        self._folder = folder / "features"
        self._sources = SourceDigests(folder / "sources")
        self._networks = networks
        self._options = options
        self._keys: dict[str, str] = {}

    def prepare(self, recordings: Sequence[Recording]) -> Iterator[Recording]:
        """Compute what is missing, several recordings at a time; yields each once it is stored.

        Raises: CropUnreadable, VideoNotFound, VideoUnreadable, VideoTooShort, DatasetChanged,
            HeadFeaturesInvalid.
        """
        with _one_thread_a_network(), ThreadPoolExecutor(self._options.workers) as pool:
            pending = [pool.submit(self._store, recording) for recording in recordings]
            try:
                for stored in as_completed(pending):
                    yield stored.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def read(self, recording: Recording) -> FaceFeatures:
        """Read a recording's features. Raises: CacheReplaced."""
        file = self._file_path(recording)
        with open_cached(file, self._compute_key(recording)) as stored:
            if stored is None:
                raise CacheReplaced(f"{file}; repeat the command")
            columns = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a mapping
        return FaceFeatures(
            rows=columns["rows"],
            times=columns["times"],
            absent_seconds=columns["absent_seconds"],
            known=columns["known"],
            features=columns["features"].astype(np.float64),
            estimates=columns["estimates"].astype(np.float64),
        )

    def _store(self, recording: Recording) -> Recording:
        if not is_cached(self._file_path(recording), self._compute_key(recording)):
            self._compute(recording)
        return recording

    def _compute(self, recording: Recording) -> None:
        rows, face_rows = self._select_rows(recording)
        known = np.greater_equal(face_rows, 0)
        used = np.unique(face_rows[known])
        crops = (read_crop(recording.crop_file(int(row))) for row in used)
        embedded = self._networks.embed(crops)
        if not np.isfinite(embedded).all():
            raise HeadFeaturesInvalid(f"{recording.name}: not every value is finite")
        visual = np.zeros((len(rows), FACE_FEATURES), np.float32)
        visual[known] = embedded[np.searchsorted(used, face_rows[known])]
        times = self._read_times(recording)
        absent = np.where(known, times[rows] - times[np.maximum(face_rows, 0)], 0.0)
        self._write(recording, rows, times[rows], absent, known, visual)

    def _write(
        self,
        recording: Recording,
        rows: Int64Array,
        times: Seconds,
        absent: Float64Array,
        known: BoolArray,
        visual: Float32Array,
    ) -> None:
        columns = {
            "rows": rows,
            "times": times,
            "absent_seconds": absent,
            "known": known,
            "features": visual[:, : self._networks.head_features].copy(),
            "estimates": self._networks.estimate(visual, known),
        }
        self._sources.check_unchanged(self._restrict(recording))
        tensors = {name: torch.as_tensor(column) for name, column in columns.items()}
        write_cached(self._file_path(recording), self._compute_key(recording), tensors)

    def _select_rows(self, recording: Recording) -> tuple[Int64Array, Int64Array]:
        """Return the rows to look at, and the row of the last face at each, -1 before the first."""
        rows = np.arange(0, len(recording), self._options.stride)
        latest = np.where(recording.has_face, np.arange(len(recording)), -1)
        return rows, np.maximum.accumulate(latest)[rows]

    def _restrict(self, recording: Recording) -> Recording:
        """Return the recording with only the faces that are used."""
        _, face_rows = self._select_rows(recording)
        has_face = np.zeros(len(recording), np.bool_)
        has_face[face_rows[face_rows >= 0]] = True
        return replace(recording, has_face=has_face)

    def _read_times(self, recording: Recording) -> Seconds:
        times = np.zeros(0)
        try:
            if recording.video is None:
                raise VideoNotFound(recording.name)
            times = read_packet_times(recording.video)
            if len(times) + count_tolerated_rows(len(recording)) < len(recording):
                raise VideoTooShort(
                    f"{recording.video}: {len(times)} frames, {len(recording)} rows"
                )
        except (VideoNotFound, VideoUnreadable, VideoTooShort) as error:
            if not self._options.allow_missing_video:
                raise
            _LOG.warning("%s: times from the rate", error)
        return extend_times(times, len(recording), self._options.rate_hz)

    def _compute_key(self, recording: Recording) -> str:
        if recording.name not in self._keys:
            self._keys[recording.name] = make_cache_key(
                kind="head features",
                format=_FORMAT,
                networks=self._networks.key,
                features=self._networks.head_features,
                stride=self._options.stride,
                rate_hz=self._options.rate_hz,
                rows=len(recording),
                crops=self._sources.digest_crops(self._restrict(recording)),
                video=self._sources.digest_video(recording),
            )
        return self._keys[recording.name]

    def _file_path(self, recording: Recording) -> Path:
        return self._folder / f"{recording.name}.safetensors"


@contextmanager
def _one_thread_a_network() -> Generator[None]:
    """Let torch use one thread in each call: on a busy machine two waited for each other.

    With other work beside it a crop of two small networks took 90 ms of a core with two threads,
    and 3.5 ms with one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
