"""Both training stages of a run, part by part; finished parts are skipped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from service.domain.model_signatures import FACE_FEATURES, VOICE_FEATURES
from training.data.embeddings import EmbeddingStore
from training.data.layout import Recording
from training.data.samples import Modality, SampleSource
from training.data.spectra_cache import SpectraCache
from training.evaluation.calibration import calibrate_run
from training.evaluation.embed_recordings import EMBEDDINGS_FOLDER, embed_recordings
from training.importers.backbone import ImportedBackbone
from training.loop.backbone_training import (
    AUDIO_STAGES,
    BackboneData,
    BackboneTask,
    FrameRegressor,
)
from training.loop.distributed import Ranks
from training.loop.errors import RunConfigMismatch, RunIncomplete
from training.loop.fitting import METRICS_FILE, WEIGHTS_FILE, FitContext, fit_task
from training.loop.fold_training import FoldData, FoldTask
from training.loop.options import TrainingSchedule
from training.loop.run_logger import RunLogger, plot_curves, write_metrics
from training.networks.initialisation import seed_weights
from training.networks.visual_architectures import UnfreezeStages, list_unfreeze_stages
from training.presets import build_networks
from training.runs import CURVES_FILE, TrainingRun, open_run

_FEATURE_COUNTS: Final[dict[Modality, int]] = {"visual": FACE_FEATURES, "audio": VOICE_FEATURES}


class RunTrainer:
    """Trains the parts of a run into its folder."""

    def __init__(
        self,
        run: TrainingRun,
        recordings: Sequence[Recording],
        spectra: SpectraCache,
        *,
        ranks: Ranks,
        logger: RunLogger,
        workers: int,
    ) -> None:
        self._run = run
        self._recordings = recordings
        self._spectra = spectra
        self._ranks = ranks
        self._logger = logger
        self._workers = workers

    def train_all(self, imported: dict[Modality, ImportedBackbone], backbones: Path | None) -> None:
        """Train backbones and folds; compute embeddings, learning curves and calibration.

        `imported` are pre-trained backbones to start from; `backbones` is a run to copy them from.
        """
        for modality in _FEATURE_COUNTS:
            is_copied = backbones is not None and self._copy_backbone(modality, backbones)
            if not is_copied:
                self._fit_backbone(modality, imported.get(modality))
        if backbones is not None:
            self._link_embeddings(backbones)
        embeddings = self._embed_recordings()
        for fold in self._ranks.shard(self._run.options.folds):
            self._fit_fold(fold, embeddings)
        self._ranks.wait_for_all()
        if self._ranks.is_leader:
            self._write_curves()
            calibration_message = calibrate_run(
                self._run, self._recordings, embeddings, self._ranks.device
            )
            self._logger.log(calibration_message)
        self._ranks.wait_for_all()

    def _fit_backbone(self, modality: Modality, imported: ImportedBackbone | None) -> None:
        options, run = self._run.options, self._run
        networks = build_networks(run.preset, options.seed)
        backbone = networks.visual if modality == "visual" else networks.audio
        if imported is not None:
            imported.load_into(backbone)
        model = FrameRegressor(backbone, modality, _FEATURE_COUNTS[modality])
        seed_weights(model.head, options.seed, f"{modality} head")
        data = BackboneData(
            training=self._select_recordings(run.plan.folds[0].training),
            validation=self._select_recordings(run.plan.folds[0].validation),
            source=SampleSource(modality=modality, spectra=self._spectra, rate_hz=options.rate_hz),
            workers=self._workers,
        )
        task = BackboneTask(
            model,
            data,
            options=options,
            ranks=self._ranks,
            stages=None if imported is None else self._list_stages(modality),
        )
        rate = options.backbone.learning_rate if imported is None else options.fine_tuning_rate
        fit_task(
            task,
            run.backbone_folder(modality),
            self._build_context(options.backbone, rate, self._ranks),
        )

    def _list_stages(self, modality: Modality) -> UnfreezeStages:
        if modality == "audio":
            return AUDIO_STAGES
        return list_unfreeze_stages(self._run.preset.visual)

    def _copy_backbone(self, modality: Modality, folder: Path) -> bool:
        """Copy another run's backbone; returns False if its network has another configuration."""
        other, run = open_run(folder), self._run
        config = {"visual": run.preset.visual, "audio": run.preset.audio}[modality]
        other_config = {"visual": other.preset.visual, "audio": other.preset.audio}[modality]
        if run.plan != other.plan or any(
            run.config.get(name) != other.config.get(name) for name in ("data", "media")
        ):
            raise RunConfigMismatch(f"{folder} was trained on other data or other folds")
        if config != other_config:
            self._logger.log(f"the {modality} backbone of {folder.name} is another network")
            return False
        if not (other.backbone_folder(modality) / WEIGHTS_FILE).is_file():
            raise RunIncomplete(f"{other.backbone_folder(modality)} has no {WEIGHTS_FILE} yet")
        if self._ranks.is_leader:
            run.backbone_folder(modality).mkdir(exist_ok=True)
            for name in (METRICS_FILE, WEIGHTS_FILE):
                shutil.copy(
                    other.backbone_folder(modality) / name, run.backbone_folder(modality) / name
                )
        self._ranks.wait_for_all()
        return True

    def _link_embeddings(self, folder: Path) -> None:
        """Link the other run's embeddings if the backbones are the same."""
        own_folder, other_folder = self._run.folder / EMBEDDINGS_FOLDER, folder / EMBEDDINGS_FOLDER
        same = self._run.preset.visual == open_run(folder).preset.visual
        if self._ranks.is_leader and same and not own_folder.exists():
            own_folder.symlink_to(os.path.relpath(other_folder, own_folder.parent))
        self._ranks.wait_for_all()

    def _embed_recordings(self) -> EmbeddingStore:
        own_recordings = self._ranks.shard(self._recordings)
        embeddings = embed_recordings(
            self._run, own_recordings, self._spectra, self._ranks.device, self._logger
        )
        self._ranks.wait_for_all()
        return embeddings

    def _fit_fold(self, fold: int, embeddings: EmbeddingStore) -> None:
        options, run = self._run.options, self._run
        plan = run.plan.folds[fold]
        data = FoldData(
            training=self._select_recordings(plan.training),
            validation=self._select_recordings(plan.validation),
            embeddings=embeddings,
        )
        model = build_networks(run.preset, options.seed).fusion.folds[fold]
        single_rank = replace(self._ranks, rank=0, size=1)
        task = FoldTask(fold, model, data, options=options, device=single_rank.device)
        rate = options.fold.learning_rate
        fit_task(task, run.fold_folder(fold), self._build_context(options.fold, rate, single_rank))

    def _build_context(self, schedule: TrainingSchedule, rate: float, ranks: Ranks) -> FitContext:
        return FitContext(
            schedule=schedule,
            learning_rate=rate,
            seed=self._run.options.seed,
            ranks=ranks,
            logger=self._logger,
        )

    def _write_curves(self) -> None:
        histories = self._run.read_histories()
        all_records = [
            {"part": part, **one} for part, history in histories.items() for one in history
        ]
        write_metrics(self._run.folder / METRICS_FILE, all_records)
        plot_curves(self._run.folder / CURVES_FILE, histories)

    def _select_recordings(self, names: Sequence[str]) -> list[Recording]:
        selected_names = set(names)
        return [recording for recording in self._recordings if recording.name in selected_names]
