"""Offline estimates: the exported models on rendered crops, with training's evaluation code."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from e2e_eval.errors import WeightsMismatch
from e2e_eval.frame_matching import ClipEstimates
from service.domain.array_types import Float32Array
from service.domain.estimator import EstimatorManifest
from service.domain.model_signatures import (
    AUDIO_BACKBONE,
    EXPORTED_MODELS,
    FUSION,
    LOG_MEL,
    VISUAL_BACKBONE,
)
from service.domain.uncertainty import UncertaintyModel
from service.estimators.repository import EstimatorRepository
from service.estimators.verification import FileVerifier
from training.data.embeddings import EmbeddingStore
from training.data.layout import Recording
from training.data.samples import WindowGrid
from training.data.spectra_cache import SpectraCache
from training.evaluation.calibration import compute_timeline_std
from training.evaluation.timelines import Timeline, TimelineEstimator
from training.export import hash_weights, load_model
from training.networks.log_mel import LogMel
from training.presets import PRESETS
from training.serving import ServedLogMel

_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedModels:
    """The models that Triton serves, loaded on the CPU, with their provenance."""

    visual: nn.Module
    audio: nn.Module
    fusion: nn.Module
    log_mel: LogMel
    grid: WindowGrid
    uncertainty: UncertaintyModel
    provenance: Mapping[str, Any]


def load_exported_models(
    repository: EstimatorRepository, manifest: EstimatorManifest, provenance: Mapping[str, Any]
) -> ExportedModels:
    """Load an estimator. Raises: WeightsMismatch, ModelChanged: it differs from its manifest.

    Training computes spectra with the log-mel network itself, which has no weights: its hash shows
    that the exported one is the same.
    """
    FileVerifier(repository).verify(manifest)
    log_mel = LogMel(PRESETS[provenance["preset"]].log_mel).eval()
    if hash_weights(ServedLogMel(log_mel)) != manifest.models[LOG_MEL.name].weights_sha256:
        raise WeightsMismatch("the exported log-mel differs from the preset's")
    method = provenance["method"]
    visual, audio, fusion = (
        load_model(repository.model_file(manifest.id, signature.name))
        for signature in (VISUAL_BACKBONE, AUDIO_BACKBONE, FUSION)
    )
    return ExportedModels(
        visual=visual,
        audio=audio,
        fusion=fusion,
        log_mel=log_mel,
        grid=WindowGrid(window_frames=method["window_frames"], hop_frames=method["hop_frames"]),
        uncertainty=manifest.uncertainty,
        provenance=provenance,
    )


def estimate_offline(
    exported: ExportedModels, recordings: Sequence[Recording], cache: Path
) -> Iterator[ClipEstimates]:
    """Estimate every recording, in order.

    Raises: CropUnreadable, VideoUnreadable.
    """
    models = exported.provenance["models"]
    embeddings = EmbeddingStore(
        cache / "embeddings",
        weights_key=" ".join(models[s.name]["weights_sha256"] for s in EXPORTED_MODELS),
        spectra=SpectraCache(cache / "tracks", exported.log_mel),
        rate_hz=0.0,
    )
    estimator = TimelineEstimator(embeddings, exported.grid, _CPU, lambda features: features)
    folds = [_SpreadBound(exported.fusion, side) for side in (1.0, -1.0)]

    def estimate(recording: Recording) -> ClipEstimates:
        for _ in embeddings.prepare(
            [recording], visual=exported.visual, audio=exported.audio, device=_CPU
        ):
            pass
        timeline = estimator.estimate(folds, recording)
        std = compute_timeline_std(exported.uncertainty, recording, timeline)
        return _to_estimates(timeline, std)

    # One thread per recording: two threads on one small network block each other.
    threads = ThreadPoolExecutor(
        len(os.sched_getaffinity(0)), initializer=torch.set_num_threads, initargs=(1,)
    )
    with threads:
        yield from threads.map(estimate, recordings)


class _SpreadBound(nn.Module):
    """Mean plus or minus spread, as a fold for the estimator, which computes both from its folds.

    The exported fusion includes its folds and returns only their mean and spread; the two bounds
    have the same mean and standard deviation.
    """

    def __init__(self, fusion: nn.Module, side: float) -> None:
        super().__init__()
        self._fusion = fusion
        self._side = side

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> Tensor:
        """Fuse (B, T, 512), (B, T, 128) and (B, T) to (B, T, 2)."""
        outputs = [self._fusion(*window) for window in zip(visual, audio, mask, strict=True)]
        return torch.stack([mean + self._side * spread for mean, spread in outputs])


def _to_estimates(timeline: Timeline, std: Float32Array) -> ClipEstimates:
    unknown = ~timeline.known[:, None]
    return ClipEstimates(
        index=np.arange(len(timeline.times)),
        times=timeline.times,
        mean=np.where(unknown, np.nan, timeline.mean).astype(np.float64),
        spread=np.where(unknown, np.nan, std).astype(np.float64),
    )
