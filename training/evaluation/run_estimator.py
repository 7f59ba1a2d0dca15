"""Estimation of recordings with trained runs, and the caches shared between runs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from training.data.embeddings import EmbeddingStore
from training.data.layout import Recording, Split
from training.data.spectra_cache import SpectraCache
from training.evaluation.embed_recordings import (
    embed_recordings,
    open_embedding_store,
    open_spectra_cache,
)
from training.evaluation.report_provenance import EVALUATION_FOLDER, hash_weight_files
from training.evaluation.timelines import Timeline, TimelineEstimator
from training.loop.fold_training import zero_ablated_modality
from training.loop.run_logger import RunLogger
from training.runs import TrainingRun


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEstimator:
    """Estimates the recordings of a split with trained runs.

    fingerprint: of the whole data set; data: its folder; out: see `evaluate_run`;
    allow_missing_audio: see `DatasetOptions`.
    """

    split: Split
    recordings: Sequence[Recording]
    fingerprint: str
    data: Path
    out: Path | None
    device: torch.device
    logger: RunLogger
    allow_missing_audio: bool = False

    def estimate(self, run: TrainingRun, reference: TrainingRun) -> list[Timeline]:
        """Estimate all recordings; embeddings of `reference` are reused for equal backbones."""
        embeddings = self.embed(run, reference)
        networks = run.load_networks()
        folds = [networks.fusion.folds[fold].to(self.device) for fold in run.options.folds]
        options = run.options
        estimator = TimelineEstimator(
            embeddings,
            options.grid,
            self.device,
            lambda part: zero_ablated_modality(part, options.ablation),
        )
        title = f"estimating every frame: {run.folder.name}"
        steps = self.logger.track_progress(self.recordings, total=len(self.recordings), title=title)
        return [estimator.estimate(folds, recording) for recording in steps]

    def embed(self, run: TrainingRun, reference: TrainingRun) -> EmbeddingStore:
        """Embed all recordings; embeddings of `reference` are reused for equal backbones."""
        cache = self._cache_folder(reference if _have_same_embeddings(run, reference) else run)
        spectra = self._open_spectra(run, cache)
        return embed_recordings(run, self.recordings, spectra, self.device, self.logger, cache)

    def _open_spectra(self, run: TrainingRun, cache: Path | None = None) -> SpectraCache:
        return open_spectra_cache(run, cache, allow_missing_audio=self.allow_missing_audio)

    def _cache_folder(self, run: TrainingRun) -> Path:
        """Return the run's folder for its own training data, else a folder per data set.

        Data of the same names, annotations and face masks are not the run's own if its embeddings
        are of other crops or videos.
        """
        if self.out is None and self.fingerprint == run.config["data"].get("fingerprint"):
            own_embeddings = open_embedding_store(run, self._open_spectra(run))
            if not own_embeddings.holds_others(self.recordings):
                return run.folder
        key = hashlib.sha256(f"{self.fingerprint} {self.data.resolve()}".encode()).hexdigest()
        return (self.out or run.folder / EVALUATION_FOLDER) / "cache" / key[:16]


def _have_same_embeddings(run: TrainingRun, reference: TrainingRun) -> bool:
    """Return whether backbones, spectra and frame times are the same."""
    own_hashes, reference_hashes = hash_weight_files(run), hash_weight_files(reference)
    backbones = {name for name in (*own_hashes, *reference_hashes) if "_backbone/" in name}
    return all(own_hashes.get(name) == reference_hashes.get(name) for name in backbones) and (
        (run.preset.log_mel, run.options.rate_hz)
        == (reference.preset.log_mel, reference.options.rate_hz)
    )
