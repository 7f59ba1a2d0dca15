"""A run's backbones over recordings: what training and evaluation both begin with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch

from training.data.embeddings import Embeddings
from training.data.layout import Recording
from training.data.tracks import Tracks
from training.export import script, weights_sha256
from training.loop.journal import Journal
from training.networks.log_mel import LogMel
from training.runs import Run
from training.serving import ServedAudioBackbone, ServedVisualBackbone

TRACKS: Final = "tracks"
EMBEDDINGS: Final = "embeddings"


def open_tracks(run: Run, cache: Path | None = None) -> Tracks:
    """The sound of the recordings that a run meets. cache: a folder; the run's own otherwise."""
    return Tracks((cache or run.folder) / TRACKS, LogMel(run.preset.log_mel).eval())


def embed_recordings(
    run: Run,
    recordings: Sequence[Recording],
    tracks: Tracks,
    device: torch.device,
    journal: Journal,
    cache: Path | None = None,
) -> Embeddings:
    """Embed every frame with the trained backbones, as they are exported.

    Args: cache: a folder; the run's own otherwise.
    Raises: RunUnfinished, CropUnreadable, VideoUnreadable.
    """
    networks = run.load_networks(folds=False)
    hashes = f"{weights_sha256(networks.visual)} {weights_sha256(networks.audio)}"
    embeddings = Embeddings(
        (cache or run.folder) / EMBEDDINGS,
        weights=hashes,
        tracks=tracks,
        rate_hz=run.options.rate_hz,
    )
    steps = embeddings.prepare(
        recordings,
        visual=script(ServedVisualBackbone(networks.visual).eval().to(device)),
        audio=script(ServedAudioBackbone(networks.audio).eval().to(device)),
        device=device,
    )
    for _ in journal.follow(steps, total=len(recordings), title="embedding every frame"):
        pass
    return embeddings
