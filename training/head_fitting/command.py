"""The `fit-head` command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from service.domain.estimator import NAME_PATTERN, EstimatorChoice
from service.errors import CircumplexError
from service.estimators.repository import EstimatorRepository
from training.data.command_options import (
    AnnotationsOption,
    CropsOption,
    SubjectsOption,
    VideosOption,
)
from training.data.errors import DatasetError
from training.data.folders import DatasetOptions
from training.head_fitting.errors import HeadFitError
from training.head_fitting.export_head import export_head
from training.head_fitting.face_features import LookOptions
from training.head_fitting.figures import build_figures_table
from training.head_fitting.fit_run import REPORT_FILE, FittedHead, HeadFitOptions, run_fit
from training.head_fitting.selection import Objective
from training.loop.run_logger import RunLogger


def fit_head_command(  # noqa: PLR0913, PLR0917 - one parameter per command-line option
    model: Annotated[
        str, typer.Option(help="Exported model whose features are used: NAME or NAME@VERSION.")
    ],
    data: Annotated[Path, typer.Option(help="A folder in Aff-Wild2's layout.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the report and the features; default out/heads/NAME@VERSION."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the fitted model, whose next version it is; default: NAME."),
    ] = None,
    use: Annotated[
        bool, typer.Option("--use", help="Make the fitted version the current one of its name.")
    ] = False,
    repository: Annotated[Path, typer.Option(help="Triton's model repository.")] = Path(
        "model_repository"
    ),
    data_licence: Annotated[
        str, typer.Option(help="Licence of DATA, in words, for the manifest.")
    ] = "that of the recordings it was fitted to",
    objective: Annotated[
        Objective,
        typer.Option(help="ccc: estimates vary as the annotations do; rmse: the smallest error."),
    ] = Objective.CCC,
    stride: Annotated[
        int, typer.Option(min=1, help="Look at every n-th frame; 1: exactly as served.")
    ] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the assignment of people to folds.")] = 0,
    rate: Annotated[
        float, typer.Option(min=1, help="Frames per second of a recording without a video.")
    ] = 30.0,
    allow_missing_video: Annotated[
        bool,
        typer.Option(
            "--allow-missing-video",
            help="Frames without a usable video are 1 / RATE seconds apart.",
        ),
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Recordings at a time; default: all cores.")
    ] = None,
    annotations: AnnotationsOption = None,
    crops: CropsOption = None,
    videos: VideosOption = None,
    subjects: SubjectsOption = None,
) -> None:
    """Fit a linear map and a smoothing on a model's features, cross-validated by person."""
    choice = _parse_choice(model, name)
    dataset = DatasetOptions(
        annotations=annotations,
        crops=tuple(crops or ()),
        videos=tuple(videos or ()),
        subjects=subjects,
        allow_missing_audio=allow_missing_video,
    )
    options = HeadFitOptions(
        objective=objective,
        look=LookOptions(
            stride=stride,
            rate_hz=rate,
            allow_missing_video=allow_missing_video,
            workers=workers or len(os.sched_getaffinity(0)),
        ),
        seed=seed,
    )
    console, models = Console(soft_wrap=True), EstimatorRepository(repository)
    try:
        folder = out or Path("out/heads") / str(models.resolve(choice))
        fitted = run_fit(
            choice,
            data,
            folder,
            repository=models,
            options=options,
            logger=RunLogger(Console()),
            dataset=dataset,
        )
        manifest = export_head(fitted, models, name=name or choice.name, data_licence=data_licence)
        if use:
            models.set_current(manifest.id)
    except (DatasetError, HeadFitError, CircumplexError) as error:
        errors = Console(stderr=True, soft_wrap=True)
        errors.print(f"{type(error).__name__}: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    _print_report(console, fitted)
    console.print(f"{folder / REPORT_FILE}", markup=False, highlight=False)
    console.print(f"{manifest.id}: {manifest.title}", markup=False, highlight=False)
    if models.read_versions().get(manifest.name) != manifest.version:
        console.print(f"not current; with --use, or: model={manifest.id}", highlight=False)


def _parse_choice(model: str, name: str | None) -> EstimatorChoice:
    if name is not None and NAME_PATTERN.fullmatch(name) is None:
        raise typer.BadParameter(
            f"{name!r}: a-z first, then a-z, 0-9, _ and -", param_hint="--name"
        )
    try:
        return EstimatorChoice.parse(model)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--model") from error


def _print_report(console: Console, fitted: FittedHead) -> None:
    report, head = fitted.report, fitted.head
    console.print(build_figures_table(report))
    if report["not_compared"]:
        console.print(f"not compared with the model as it is: {report['not_compared']}")
    console.print(
        f"{report['data']['people']} people, {report['data']['scored']:,} frames; smoothing "
        f"{head.smoothing_seconds:g} s; features {report['seconds']['features']:.0f} s, fit "
        f"{report['seconds']['fit']:.0f} s",
        highlight=False,
    )
