"""Runs put through recordings, and where what is computed once for them is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from training.data.layout import Recording, Split
from training.evaluation.embedding import embed_recordings, open_tracks
from training.evaluation.evidence import EVALUATION, weight_hashes
from training.evaluation.timelines import Estimator, Timeline
from training.loop.heads import mute
from training.loop.journal import Journal
from training.runs import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimation:
    """The recordings of a split that runs are put through.

    fingerprint: of the whole data set; data: its folder; out: see `evaluate`.
    """

    split: Split
    recordings: Sequence[Recording]
    fingerprint: str
    data: Path
    out: Path | None
    device: torch.device
    journal: Journal

    def estimate(self, run: Run, first: Run) -> list[Timeline]:
        """A run's timelines; what the first run has embedded with the same backbones is used."""
        cache = self._cache(first if _share_embeddings(run, first) else run)
        tracks = open_tracks(run, cache)
        embeddings = embed_recordings(
            run, self.recordings, tracks, self.device, self.journal, cache
        )
        networks = run.load_networks()
        folds = [networks.fusion.folds[fold].to(self.device) for fold in run.options.folds]
        options = run.options
        estimator = Estimator(
            embeddings, options.grid, self.device, lambda part: mute(part, options.ablation)
        )
        title = f"estimating every frame: {run.folder.name}"
        steps = self.journal.follow(self.recordings, total=len(self.recordings), title=title)
        return [estimator.estimate(folds, recording) for recording in steps]

    def _cache(self, run: Run) -> Path:
        """Of the run itself for the data it learnt from; other data's names may be the same."""
        if self.out is None and self.fingerprint == run.config["data"].get("fingerprint"):
            return run.folder
        key = hashlib.sha256(f"{self.fingerprint} {self.data.resolve()}".encode()).hexdigest()
        return (self.out or run.folder / EVALUATION) / "cache" / key[:16]


def _share_embeddings(run: Run, first: Run) -> bool:
    """Whether backbones, spectra and frame times are the same."""
    mine, theirs = weight_hashes(run), weight_hashes(first)
    backbones = {name for name in (*mine, *theirs) if "_backbone/" in name}
    return all(mine.get(name) == theirs.get(name) for name in backbones) and (
        (run.preset.log_mel, run.options.rate_hz) == (first.preset.log_mel, first.options.rate_hz)
    )
