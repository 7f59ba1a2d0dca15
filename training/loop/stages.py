"""The two stages of a training, one part after the other; what is there already is skipped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from service.domain.signatures import FACE_FEATURES, VOICE_FEATURES
from training.data.embeddings import Embeddings
from training.data.layout import Recording
from training.data.samples import Modality, Source
from training.data.tracks import Tracks
from training.evaluation.calibration import calibrate_run
from training.evaluation.embedding import EMBEDDINGS, embed_recordings
from training.importers.backbone import Backbone
from training.loop.backbones import BackbonePart, Material, Regression
from training.loop.errors import RunOfOtherChoices, RunUnfinished
from training.loop.fitting import METRICS, WEIGHTS, Conditions, fit
from training.loop.heads import FoldPart, Lessons
from training.loop.journal import Journal, draw_curves, write_metrics
from training.loop.options import Schedule
from training.loop.ranks import Ranks
from training.networks.initialisation import seed_weights
from training.presets import build_networks
from training.runs import CURVES, Run, open_run

_FEATURES: Final[dict[Modality, int]] = {"visual": FACE_FEATURES, "audio": VOICE_FEATURES}


class Stages:
    """A run's parts, fitted into its folder."""

    def __init__(
        self,
        run: Run,
        recordings: Sequence[Recording],
        tracks: Tracks,
        *,
        ranks: Ranks,
        journal: Journal,
        workers: int,
    ) -> None:
        self._run = run
        self._recordings = recordings
        self._tracks = tracks
        self._ranks = ranks
        self._journal = journal
        self._workers = workers

    def run_all(self, imported: dict[Modality, Backbone], backbones: Path | None) -> None:
        """Backbones, embeddings, folds, pictures, calibration.

        Args: imported: what backbones start from; backbones: the run they are taken from.
        """
        for modality in _FEATURES:
            taken = backbones is not None and self._take_backbone(modality, backbones)
            if not taken:
                self._fit_backbone(modality, imported.get(modality))
        if backbones is not None:
            self._share_embeddings(backbones)
        embeddings = self._embed()
        for fold in self._ranks.share(self._run.options.folds):
            self._fit_fold(fold, embeddings)
        self._ranks.meet()
        if self._ranks.leads:
            self._draw()
            calibrated = calibrate_run(self._run, self._recordings, embeddings, self._ranks.device)
            self._journal.say(calibrated)
        self._ranks.meet()

    def _fit_backbone(self, modality: Modality, imported: Backbone | None) -> None:
        options, run = self._run.options, self._run
        networks = build_networks(run.preset, options.seed)
        backbone = networks.visual if modality == "visual" else networks.audio
        if imported is not None:
            imported.load_into(backbone)
        model = Regression(backbone, modality, _FEATURES[modality])
        seed_weights(model.head, options.seed, f"{modality} head")
        material = Material(
            training=self._named(run.plan.folds[0].training),
            validation=self._named(run.plan.folds[0].validation),
            source=Source(modality=modality, tracks=self._tracks, rate_hz=options.rate_hz),
            workers=self._workers,
        )
        part = BackbonePart(
            model, material, options=options, ranks=self._ranks, gradually=imported is not None
        )
        rate = options.backbone.learning_rate if imported is None else options.fine_tuning_rate
        fit(part, run.backbone(modality), self._conditions(options.backbone, rate, self._ranks))

    def _take_backbone(self, modality: Modality, folder: Path) -> bool:
        """Another run's backbone over the same folds; False where its network is another."""
        other, run = open_run(folder), self._run
        config = {"visual": run.preset.visual, "audio": run.preset.audio}[modality]
        theirs = {"visual": other.preset.visual, "audio": other.preset.audio}[modality]
        if (run.plan, run.config["data"]) != (other.plan, other.config["data"]):
            raise RunOfOtherChoices(f"{folder} learnt from other data or was dealt other folds")
        if config != theirs:
            self._journal.say(f"the {modality} backbone of {folder.name} is another network")
            return False
        if not (other.backbone(modality) / WEIGHTS).is_file():
            raise RunUnfinished(f"{other.backbone(modality)} has no {WEIGHTS} yet")
        if self._ranks.leads:
            run.backbone(modality).mkdir(exist_ok=True)
            for name in (METRICS, WEIGHTS):
                shutil.copy(other.backbone(modality) / name, run.backbone(modality) / name)
        self._ranks.meet()
        return True

    def _share_embeddings(self, folder: Path) -> None:
        """Read and write the other run's embeddings where the backbones are the same."""
        mine, theirs = self._run.folder / EMBEDDINGS, folder / EMBEDDINGS
        same = self._run.preset.visual == open_run(folder).preset.visual
        if self._ranks.leads and same and not mine.exists():
            mine.symlink_to(os.path.relpath(theirs, mine.parent))
        self._ranks.meet()

    def _embed(self) -> Embeddings:
        mine = self._ranks.share(self._recordings)
        embeddings = embed_recordings(
            self._run, mine, self._tracks, self._ranks.device, self._journal
        )
        self._ranks.meet()
        return embeddings

    def _fit_fold(self, fold: int, embeddings: Embeddings) -> None:
        options, run = self._run.options, self._run
        plan = run.plan.folds[fold]
        lessons = Lessons(
            training=self._named(plan.training),
            validation=self._named(plan.validation),
            embeddings=embeddings,
        )
        model = build_networks(run.preset, options.seed).fusion.folds[fold]
        alone = replace(self._ranks, rank=0, size=1)
        part = FoldPart(fold, model, lessons, options=options, device=alone.device)
        rate = options.fold.learning_rate
        fit(part, run.fold(fold), self._conditions(options.fold, rate, alone))

    def _conditions(self, schedule: Schedule, rate: float, ranks: Ranks) -> Conditions:
        return Conditions(
            schedule=schedule,
            learning_rate=rate,
            seed=self._run.options.seed,
            ranks=ranks,
            journal=self._journal,
        )

    def _draw(self) -> None:
        histories = self._run.histories()
        every = [{"part": part, **one} for part, history in histories.items() for one in history]
        write_metrics(self._run.folder / METRICS, every)
        draw_curves(self._run.folder / CURVES, histories)

    def _named(self, names: Sequence[str]) -> list[Recording]:
        chosen = set(names)
        return [recording for recording in self._recordings if recording.name in chosen]
