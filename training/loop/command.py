"""The `train` command."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from service.domain.model_signatures import FOLDS
from training.data.command_options import (
    AnnotationsOption,
    CropsOption,
    MissingAudioOption,
    SharedSubjectsOption,
    SubjectsOption,
    VideosOption,
)
from training.data.errors import DatasetError
from training.data.folders import DatasetOptions
from training.importers.errors import ImportRefused
from training.loop.distributed import join_ranks
from training.loop.errors import RunError
from training.loop.options import Ablation, Decay, TrainingOptions, TrainingSchedule
from training.loop.run_logger import RunLogger
from training.loop.train_run import InitialWeights, train_run
from training.presets import PRESETS


class PresetName(StrEnum):
    """Names of `training.presets.PRESETS`, for the command line."""

    MINI = "mini"
    PAPER = "paper"


def train_command(  # noqa: PLR0913, PLR0917 - one parameter per command-line option
    data: Annotated[Path, typer.Option(help="A folder in Aff-Wild2's layout.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; resumed if it exists.")],
    preset: Annotated[PresetName, typer.Option(help="Size of the networks.")] = PresetName.MINI,
    seed: Annotated[int, typer.Option(help="Seed of weights, order and dropout.")] = 0,
    deal: Annotated[
        int, typer.Option(help="Seed of the assignment of subjects to folds and calibration.")
    ] = 0,
    folds: Annotated[str, typer.Option(help="Folds to train, such as 0,1; default: all six.")] = "",
    epochs: Annotated[int | None, typer.Option(min=1, help="Maximum epochs of a fold.")] = None,
    backbone_epochs: Annotated[
        int | None, typer.Option(min=1, help="Maximum epochs of a backbone.")
    ] = None,
    batch_windows: Annotated[
        int | None, typer.Option(min=1, help="Windows per batch; default 12.")
    ] = None,
    frames_per_window: Annotated[
        int | None, typer.Option(min=1, help="Frames per window that train a backbone.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=0, help="Peak learning rate of a fold; default 1e-3.")
    ] = None,
    backbone_learning_rate: Annotated[
        float | None, typer.Option(min=0, help="Peak learning rate of a backbone from scratch.")
    ] = None,
    decay: Annotated[
        Decay, typer.Option(help="Learning rate decay: on plateaus, or as a cosine.")
    ] = Decay.PLATEAU,
    ablate: Annotated[Ablation | None, typer.Option(help="Component to remove.")] = None,
    visual: Annotated[Path | None, typer.Option(help="Imported visual backbone.")] = None,
    freeze_visual: Annotated[
        bool,
        typer.Option("--freeze-visual", help="Keep the weights of an imported expression network."),
    ] = False,
    audio: Annotated[Path | None, typer.Option(help="Imported audio backbone.")] = None,
    backbones: Annotated[
        Path | None, typer.Option(help="Run on the same data whose backbones are copied.")
    ] = None,
    calibration_share: Annotated[
        float,
        typer.Option(min=0, max=0.5, help="Share of training subjects reserved for calibration."),
    ] = 0.1,
    rate: Annotated[float, typer.Option(help="Frames per second of data without video.")] = 30.0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: torch's default.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read crops.")] = 0,
    annotations: AnnotationsOption = None,
    crops: CropsOption = None,
    videos: VideosOption = None,
    subjects: SubjectsOption = None,
    allow_missing_audio: MissingAudioOption = False,
    refuse_shared_subjects: SharedSubjectsOption = False,
) -> None:
    """Train backbones and folds; repeat the command to resume after an interruption."""
    if threads:
        torch.set_num_threads(threads)
    defaults = TrainingOptions()
    options = TrainingOptions(
        seed=seed,
        deal_seed=deal,
        folds=_parse_folds(folds),
        ablation=ablate,
        rate_hz=rate,
        calibration_share=calibration_share,
        frames_per_window=frames_per_window or defaults.frames_per_window,
        backbone=_override_schedule(
            defaults.backbone, decay, backbone_epochs, batch_windows, backbone_learning_rate
        ),
        fold=_override_schedule(defaults.fold, decay, epochs, batch_windows, learning_rate),
    )
    dataset = DatasetOptions(
        annotations=annotations,
        crops=tuple(crops or ()),
        videos=tuple(videos or ()),
        subjects=subjects,
        allow_missing_audio=allow_missing_audio,
        refuse_shared_subjects=refuse_shared_subjects,
    )
    console = Console()
    try:
        with join_ranks(device) as ranks:
            train_run(
                data,
                out,
                preset=PRESETS[preset],
                options=options,
                ranks=ranks,
                logger=RunLogger(console if ranks.is_leader else None),
                initial=InitialWeights(
                    visual=visual,
                    audio=audio,
                    backbones=backbones,
                    freeze_visual=freeze_visual,
                ),
                workers=workers,
                dataset=dataset,
            )
    except (DatasetError, RunError, ImportRefused) as error:
        console.print(f"{type(error).__name__}: {error}", style="red", markup=False)
        raise typer.Exit(1) from error


def _override_schedule(
    schedule: TrainingSchedule,
    decay: Decay,
    epochs: int | None,
    batch_windows: int | None,
    learning_rate: float | None,
) -> TrainingSchedule:
    return replace(
        schedule,
        decay=decay,
        epochs=epochs or schedule.epochs,
        batch_windows=batch_windows or schedule.batch_windows,
        learning_rate=learning_rate or schedule.learning_rate,
    )


def _parse_folds(text: str) -> tuple[int, ...]:
    try:
        folds = tuple(sorted({int(part) for part in text.split(",")})) if text else range(FOLDS)
    except ValueError:
        raise typer.BadParameter(f"--folds {text}: numbers, separated by commas") from None
    if not set(folds) <= set(range(FOLDS)):
        raise typer.BadParameter(f"--folds {text}: folds are 0 to {FOLDS - 1}")
    return tuple(folds)
