"""The `evaluate`, `calibrate` and `uncertainty` commands."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from training.data.command_options import (
    AnnotationsOption,
    CropsOption,
    MissingAudioOption,
    SubjectsOption,
    VideosOption,
)
from training.data.errors import DatasetError
from training.data.files import replace_text
from training.data.folders import DatasetOptions
from training.data.layout import Split
from training.evaluation.calibration import recalibrate
from training.evaluation.conditions import DEFAULT_FACE_MODELS
from training.evaluation.report import evaluate_run
from training.evaluation.report_provenance import EVALUATION_FOLDER, UNCERTAINTY_FILE
from training.evaluation.report_table import build_report_table
from training.evaluation.uncertainty_report import (
    build_uncertainty_tables,
    evaluate_uncertainty,
)
from training.loop.distributed import join_ranks
from training.loop.errors import RunError
from training.loop.run_logger import RunLogger


def evaluate_command(  # noqa: PLR0913, PLR0917 - one parameter per command-line option
    run: Annotated[Path, typer.Option(help="A trained run.")],
    data: Annotated[Path, typer.Option(help="A folder in Aff-Wild2's layout.")],
    split: Annotated[Split, typer.Option(help="The split to evaluate on.")] = Split.VALIDATION,
    ablation: Annotated[
        list[Path] | None, typer.Option(help="An ablated run to compare with; repeatable.")
    ] = None,
    seed_run: Annotated[
        list[Path] | None, typer.Option(help="The same model from another seed; repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Output folder; default RUN/evaluation.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: torch's default.")] = 0,
    annotations: AnnotationsOption = None,
    crops: CropsOption = None,
    videos: VideosOption = None,
    subjects: SubjectsOption = None,
    allow_missing_audio: MissingAudioOption = False,
) -> None:
    """Score a run and write report, predictions and submission to OUT."""
    dataset = DatasetOptions(
        annotations=annotations,
        crops=tuple(crops or ()),
        videos=tuple(videos or ()),
        subjects=subjects,
        allow_missing_audio=allow_missing_audio,
    )
    console = Console()
    with _evaluation_device(console, device, threads) as selected_device:
        report = evaluate_run(
            run,
            data,
            split=split,
            device=selected_device,
            logger=RunLogger(console),
            ablations=ablation or (),
            seeds=seed_run or (),
            out=out,
            dataset=dataset,
        )
    console.print(build_report_table(report))
    console.print(f"{(out or run / EVALUATION_FOLDER) / split}", markup=False, highlight=False)


def calibrate_command(
    run: Annotated[Path, typer.Option(help="A trained run; its calibration is replaced.")],
    data: Annotated[
        Path, typer.Option(help="A folder in Aff-Wild2's layout, with other subjects.")
    ],
    face_models: Annotated[
        Path, typer.Option(help="Of the service, to score the crops of DATA.")
    ] = DEFAULT_FACE_MODELS,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: torch's default.")] = 0,
    annotations: AnnotationsOption = None,
    crops: CropsOption = None,
    videos: VideosOption = None,
    subjects: SubjectsOption = None,
    allow_missing_audio: MissingAudioOption = False,
) -> None:
    """Recalibrate a run's uncertainty on a data set of held-out subjects."""
    dataset = DatasetOptions(
        annotations=annotations,
        crops=tuple(crops or ()),
        videos=tuple(videos or ()),
        subjects=subjects,
        allow_missing_audio=allow_missing_audio,
    )
    console = Console()
    with _evaluation_device(console, device, threads) as selected_device:
        message = recalibrate(
            run,
            data,
            device=selected_device,
            logger=RunLogger(console),
            dataset=dataset,
            face_models=face_models,
        )
    console.print(message, markup=False, highlight=False)


def uncertainty_command(
    run: Annotated[Path, typer.Option(help="A trained run.")],
    data: Annotated[
        Path,
        typer.Option(help="A folder in Aff-Wild2's layout, neither trained nor calibrated on."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Output file; default RUN/evaluation/uncertainty.json.")
    ] = None,
    ceiling: Annotated[
        bool, typer.Option("--ceiling", help="Also measure what any uncertainty could reach.")
    ] = False,
    face_models: Annotated[
        Path, typer.Option(help="Of the service, to score the crops of DATA.")
    ] = DEFAULT_FACE_MODELS,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: torch's default.")] = 0,
) -> None:
    """Measure a run's uncertainty on strangers: coverage and rank correlation with the error."""
    console = Console()
    with _evaluation_device(console, device, threads) as selected_device:
        figures = evaluate_uncertainty(
            run,
            data,
            device=selected_device,
            logger=RunLogger(console),
            face_models=face_models,
            with_ceiling=ceiling,
        )
    file = out or run / EVALUATION_FOLDER / UNCERTAINTY_FILE
    replace_text(file, json.dumps(figures, indent=2) + "\n")
    for table in build_uncertainty_tables(figures):
        console.print(table)
    console.print(f"{file}", markup=False, highlight=False)


@contextmanager
def _evaluation_device(console: Console, device: str, threads: int) -> Generator[torch.device]:
    """Select the device; an error of the data or the run is printed and ends the command."""
    if threads:
        torch.set_num_threads(threads)
    try:
        with join_ranks(device) as ranks:
            yield ranks.device
    except (DatasetError, RunError) as error:
        console.print(f"{type(error).__name__}: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
