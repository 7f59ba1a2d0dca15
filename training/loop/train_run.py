"""Complete training run: read data, fit backbones, embed frames, fit six folds, calibrate.

Each step writes its result to the run's folder and is skipped if the result exists.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from training.data.layout import Recording, fingerprint_dataset, read_dataset
from training.data.samples import Modality
from training.evaluation.embed_recordings import open_spectra_cache
from training.folds import CrossValidationPlan, plan_folds
from training.importers.backbone import ImportedBackbone, read_backbone
from training.loop.distributed import Ranks
from training.loop.options import TrainingOptions, apply_ablation
from training.loop.run_logger import RunLogger
from training.loop.run_trainer import RunTrainer
from training.networks.iresnet import IResNetConfig
from training.presets import Preset
from training.runs import TrainingRun, open_run, start_or_resume_run


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialWeights:
    """Source of the backbones, if not trained from scratch.

    visual, audio: imported files. backbones: another run on the same data, whose backbones are
    copied.
    """

    visual: Path | None = None
    audio: Path | None = None
    backbones: Path | None = None


def train_run(
    data: Path,
    folder: Path,
    *,
    preset: Preset,
    options: TrainingOptions,
    ranks: Ranks,
    logger: RunLogger,
    initial: InitialWeights | None = None,
    workers: int = 0,
) -> TrainingRun:
    """Train a run to its end, resuming an interrupted one.

    Raises: DatasetError, RunError, ImportRefused.
    """
    initial = initial or InitialWeights()
    recordings = read_dataset(data)
    plan = plan_folds(
        recordings, seed=options.deal_seed, calibration_share=options.calibration_share
    )
    imported = _read_imported_backbones(initial)
    final_preset = _apply_imported_configs(apply_ablation(preset, options.ablation), imported)
    facts = _build_metadata(recordings, imported, initial)
    run = ranks.broadcast_from_leader(
        lambda: start_or_resume_run(
            folder, preset=final_preset, options=options, plan=plan, metadata=facts
        )
    )
    for name in plan.left_out:
        logger.log(f"{name} is left out: its subject is in the test set")
    used_recordings = [r for r in recordings if r.name in _list_used_recordings(plan)]
    spectra = open_spectra_cache(run)
    spectra.prepare(ranks.shard(_select_one_per_subject(used_recordings)))
    ranks.wait_for_all()
    RunTrainer(
        run, used_recordings, spectra, ranks=ranks, logger=logger, workers=workers
    ).train_all(imported, initial.backbones)
    return run


def _read_imported_backbones(initial: InitialWeights) -> dict[Modality, ImportedBackbone]:
    """Read imported backbones.

    Raises: BackboneFileInvalid: damaged, or an audio backbone for faces, or the reverse.
    """
    imported: dict[Modality, ImportedBackbone] = {}
    if initial.visual is not None:
        imported["visual"] = read_backbone(initial.visual)
        imported["visual"].build_visual()
    if initial.audio is not None:
        imported["audio"] = read_backbone(initial.audio)
        imported["audio"].build_audio()
    return imported


def _apply_imported_configs(preset: Preset, imported: dict[Modality, ImportedBackbone]) -> Preset:
    """Replace the preset's backbone settings by the public networks'; LA-SE is unchanged."""
    for backbone in imported.values():
        config = backbone.config
        if isinstance(config, IResNetConfig):
            attention = preset.visual.attention
            preset = replace(preset, visual=replace(config, attention=attention))
        else:
            preset = replace(preset, audio=config)
    return preset


def _build_metadata(
    recordings: Sequence[Recording],
    imported: dict[Modality, ImportedBackbone],
    initial: InitialWeights,
) -> dict[str, Any]:
    source_run = None if initial.backbones is None else open_run(initial.backbones).folder.name
    return {
        "data": {"fingerprint": fingerprint_dataset(recordings), "recordings": len(recordings)},
        "initial": {
            "backbones_of": source_run,
            "imported": {modality: b.record for modality, b in imported.items()},
        },
        "software": {"torch": torch.__version__, "python": platform.python_version()},
        "threads": torch.get_num_threads(),
    }


def _list_used_recordings(plan: CrossValidationPlan) -> set[str]:
    """List the recordings of training, validation and calibration; not the test set."""
    first = plan.folds[0]
    fold_training_names = [name for fold in plan.folds for name in fold.training]
    return {*first.training, *first.validation, *fold_training_names, *plan.calibration}


def _select_one_per_subject(recordings: Sequence[Recording]) -> list[Recording]:
    """Select one recording per subject: recordings of one video share its audio."""
    return list({recording.subject: recording for recording in recordings}.values())
