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
from training.data.errors import DatasetError
from training.importers.errors import ImportRefused
from training.loop.distributed import join_ranks
from training.loop.errors import RunError
from training.loop.options import Ablation, Decay, TrainingOptions
from training.loop.run_logger import RunLogger
from training.loop.train_run import InitialWeights, train_run
from training.presets import PRESETS


class PresetName(StrEnum):
    """The presets of `training.presets`, as choices of the command line."""

    MINI = "mini"
    PAPER = "paper"


def train_command(
    data: Annotated[Path, typer.Option(help="A folder in Aff-Wild2's layout.")],
    out: Annotated[Path, typer.Option(help="The run: started, or gone on with, here.")],
    preset: Annotated[PresetName, typer.Option(help="Size of the networks.")] = PresetName.MINI,
    seed: Annotated[int, typer.Option(help="Of weights, order and dropout.")] = 0,
    deal: Annotated[int, typer.Option(help="Seed of who is in which fold, or kept back.")] = 0,
    folds: Annotated[str, typer.Option(help="Which folds, such as 0,1; all six otherwise.")] = "",
    epochs: Annotated[int | None, typer.Option(min=1, help="Most epochs of a fold.")] = None,
    backbone_epochs: Annotated[
        int | None, typer.Option(min=1, help="Most epochs of a backbone.")
    ] = None,
    batch_windows: Annotated[
        int | None, typer.Option(min=1, help="Windows of a batch; 12 otherwise.")
    ] = None,
    frames_per_window: Annotated[
        int | None, typer.Option(min=1, help="Frames of a window that teach a backbone.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=0, help="Highest rate of a fold; 1e-3 otherwise.")
    ] = None,
    backbone_learning_rate: Annotated[
        float | None, typer.Option(min=0, help="Highest rate of a backbone from scratch.")
    ] = None,
    decay: Annotated[
        Decay, typer.Option(help="How rates fall: on plateaus, or as a cosine.")
    ] = Decay.PLATEAU,
    ablate: Annotated[Ablation | None, typer.Option(help="Leave a part out.")] = None,
    visual: Annotated[Path | None, typer.Option(help="Imported visual backbone.")] = None,
    audio: Annotated[Path | None, typer.Option(help="Imported audio backbone.")] = None,
    backbones: Annotated[
        Path | None, typer.Option(help="Take the backbones of this run over the same data.")
    ] = None,
    calibration_share: Annotated[
        float, typer.Option(min=0, max=0.5, help="Training subjects kept back for the spread.")
    ] = 0.1,
    rate: Annotated[float, typer.Option(help="Frames per second where there is no video.")] = 30.0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: torch's choice.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read crops.")] = 0,
) -> None:
    """Train backbones and folds; the same command goes on after an interruption."""
    if threads:
        torch.set_num_threads(threads)
    options = TrainingOptions(
        seed=seed,
        deal_seed=deal,
        folds=_parse_folds(folds),
        ablation=ablate,
        rate_hz=rate,
        calibration_share=calibration_share,
    )
    options = replace(
        options,
        frames_per_window=frames_per_window or options.frames_per_window,
        backbone=replace(
            options.backbone,
            decay=decay,
            epochs=backbone_epochs or options.backbone.epochs,
            batch_windows=batch_windows or options.backbone.batch_windows,
            learning_rate=backbone_learning_rate or options.backbone.learning_rate,
        ),
        fold=replace(
            options.fold,
            decay=decay,
            epochs=epochs or options.fold.epochs,
            batch_windows=batch_windows or options.fold.batch_windows,
            learning_rate=learning_rate or options.fold.learning_rate,
        ),
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
                initial=InitialWeights(visual=visual, audio=audio, backbones=backbones),
                workers=workers,
            )
    except (DatasetError, RunError, ImportRefused) as error:
        console.print(f"{type(error).__name__}: {error}", style="red", markup=False)
        raise typer.Exit(1) from error


def _parse_folds(text: str) -> tuple[int, ...]:
    try:
        folds = tuple(sorted({int(part) for part in text.split(",")})) if text else range(FOLDS)
    except ValueError:
        raise typer.BadParameter(f"--folds {text}: numbers, separated by commas") from None
    if not set(folds) <= set(range(FOLDS)):
        raise typer.BadParameter(f"--folds {text}: folds are 0 to {FOLDS - 1}")
    return tuple(folds)
