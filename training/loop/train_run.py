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

from training.data.errors import SubjectsShared
from training.data.folders import DatasetOptions
from training.data.layout import Recording, fingerprint_dataset, read_dataset
from training.data.samples import Modality
from training.data.sources import SourceDigests, digest_dataset
from training.data.spectra_cache import SOURCES_FOLDER, SpectraCache
from training.evaluation.embed_recordings import open_spectra_cache
from training.folds import CrossValidationPlan, plan_folds
from training.importers.backbone import ImportedBackbone, read_backbone
from training.loop.distributed import Ranks
from training.loop.errors import OptionNotApplicable
from training.loop.options import Ablation, TrainingOptions, apply_ablation
from training.loop.run_logger import RunLogger
from training.loop.run_trainer import RunTrainer
from training.networks.iresnet import IResNetConfig
from training.networks.visual_architectures import PublishedConfig
from training.presets import Preset
from training.runs import TrainingRun, open_run, start_or_resume_run


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialWeights:
    """Source of the backbones, if not trained from scratch.

    visual, audio: imported files. freeze_visual: the visual backbone is a published network whose
    weights stay as they are. backbones: another run on the same data, whose backbones are copied.
    """

    visual: Path | None = None
    audio: Path | None = None
    backbones: Path | None = None
    freeze_visual: bool = False


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
    dataset: DatasetOptions | None = None,
) -> TrainingRun:
    """Train a run to its end, resuming an interrupted one.

    Raises: DatasetError, RunError, ImportRefused.
    """
    initial = initial or InitialWeights()
    dataset = dataset or DatasetOptions()
    recordings = read_dataset(data, dataset)
    plan = plan_folds(
        recordings, seed=options.deal_seed, calibration_share=options.calibration_share
    )
    _report_overlap(plan, dataset, logger)
    used_recordings = [r for r in recordings if r.name in _list_used_recordings(plan)]
    imported = _read_imported_backbones(initial)
    final_preset = _apply_imported_configs(apply_ablation(preset, options.ablation), imported)
    final_preset = _apply_visual_options(final_preset, initial, options)
    run = ranks.broadcast_from_leader(
        lambda: start_or_resume_run(
            folder,
            preset=final_preset,
            options=options,
            plan=plan,
            metadata=_build_metadata(recordings, imported, initial)
            | {"media": _digest_sources(folder, used_recordings, logger)},
        )
    )
    spectra = open_spectra_cache(run, allow_missing_audio=dataset.allow_missing_audio)
    _prepare_spectra(spectra, ranks.shard(_select_one_per_video(used_recordings)), logger)
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
            has_attention = isinstance(preset.visual, IResNetConfig) and preset.visual.attention
            preset = replace(preset, visual=replace(config, attention=has_attention))
        elif isinstance(config, PublishedConfig):
            preset = replace(preset, visual=config)
        else:
            preset = replace(preset, audio=config)
    return preset


def _apply_visual_options(
    preset: Preset, initial: InitialWeights, options: TrainingOptions
) -> Preset:
    """Freeze a published network. Raises: OptionNotApplicable: the visual backbone has no such."""
    if not isinstance(preset.visual, PublishedConfig):
        if initial.freeze_visual:
            raise OptionNotApplicable("only a published network is frozen, not an IResNet")
        return preset
    if options.ablation is Ablation.NO_LA_SE:
        raise OptionNotApplicable(f"{preset.visual.architecture} has no LA-SE to remove")
    return replace(preset, visual=replace(preset.visual, frozen=initial.freeze_visual))


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


def _report_overlap(plan: CrossValidationPlan, dataset: DatasetOptions, logger: RunLogger) -> None:
    for name in plan.left_out:
        logger.log(f"{name} is left out: its subject or video is in the test set")
    for name in plan.shared:
        logger.log(f"{name} does not train fold 0: its subject or video is in the validation set")
    if plan.shared and dataset.refuse_shared_subjects:
        raise SubjectsShared(", ".join(plan.shared))


def _digest_sources(folder: Path, recordings: Sequence[Recording], logger: RunLogger) -> str:
    """Digest all crops and videos; a crop that is broken is found before anything is trained.

    Raises: CropUnreadable, VideoUnreadable, DatasetChanged.
    """
    sources = SourceDigests(folder / SOURCES_FOLDER)
    steps = logger.track_progress(recordings, total=len(recordings), title="checking every crop")
    return digest_dataset(sources, steps)


def _prepare_spectra(
    spectra: SpectraCache, recordings: Sequence[Recording], logger: RunLogger
) -> None:
    steps = logger.track_progress(
        spectra.prepare(recordings), total=len(recordings), title="reading the audio of videos"
    )
    for _ in steps:
        pass


def _list_used_recordings(plan: CrossValidationPlan) -> set[str]:
    """List the recordings of training, validation and calibration; not the test set."""
    first = plan.folds[0]
    fold_training_names = [name for fold in plan.folds for name in fold.training]
    return {*first.training, *first.validation, *fold_training_names, *plan.calibration}


def _select_one_per_video(recordings: Sequence[Recording]) -> list[Recording]:
    """Select the longest recording of each video: recordings of one video share its audio."""
    by_length = sorted(recordings, key=len)
    return list({recording.video_name: recording for recording in by_length}.values())
