"""Embedding of recordings with a run's backbones, for training and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch

from training.data.embeddings import EmbeddingStore
from training.data.layout import Recording
from training.data.spectra_cache import SpectraCache
from training.export import hash_weights, script_model
from training.loop.run_logger import RunLogger
from training.networks.log_mel import LogMel
from training.runs import TrainingRun
from training.serving import ServedAudioBackbone, ServedVisualBackbone

SPECTRA_FOLDER: Final = "tracks"
EMBEDDINGS_FOLDER: Final = "embeddings"


def open_spectra_cache(
    run: TrainingRun, cache: Path | None = None, *, allow_missing_audio: bool = False
) -> SpectraCache:
    """Open the cache of log-mel spectra; `cache` is a folder, default: the run's own."""
    return SpectraCache(
        (cache or run.folder) / SPECTRA_FOLDER,
        LogMel(run.preset.log_mel).eval(),
        allow_missing_audio=allow_missing_audio,
    )


def open_embedding_store(
    run: TrainingRun, spectra: SpectraCache, cache: Path | None = None
) -> EmbeddingStore:
    """Open the store of a run's embeddings; `cache` is a folder, default: the run's own.

    Raises: RunIncomplete.
    """
    networks = run.load_networks(folds=False)
    return EmbeddingStore(
        (cache or run.folder) / EMBEDDINGS_FOLDER,
        weights_key=f"{hash_weights(networks.visual)} {hash_weights(networks.audio)}",
        spectra=spectra,
        rate_hz=run.options.rate_hz,
    )


def embed_recordings(
    run: TrainingRun,
    recordings: Sequence[Recording],
    spectra: SpectraCache,
    device: torch.device,
    logger: RunLogger,
    cache: Path | None = None,
) -> EmbeddingStore:
    """Embed every frame with the trained backbones, as they are exported.

    `cache` is a folder, default: the run's own.

    Raises: RunIncomplete, DatasetError.
    """
    networks = run.load_networks(folds=False)
    embeddings = open_embedding_store(run, spectra, cache)
    steps = embeddings.prepare(
        recordings,
        visual=script_model(ServedVisualBackbone(networks.visual).eval().to(device)),
        audio=script_model(ServedAudioBackbone(networks.audio).eval().to(device)),
        device=device,
    )
    for _ in logger.track_progress(steps, total=len(recordings), title="embedding every frame"):
        pass
    return embeddings
