"""The `check` command."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from training.checking.dataset_check import check_dataset
from training.checking.findings import CheckReport, Severity
from training.checking.recording_check import CheckedRecording
from training.data.command_options import (
    AnnotationsOption,
    CropsOption,
    MissingAudioOption,
    SharedSubjectsOption,
    SubjectsOption,
    VideosOption,
)
from training.data.folders import DatasetOptions
from training.loop.run_logger import RunLogger


def check_command(
    data: Annotated[Path, typer.Argument(help="A folder in Aff-Wild2's layout.")],
    quick: Annotated[
        bool, typer.Option("--quick", help="Decode 20 crops and one frame of each recording only.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads; default: one for each core.")
    ] = None,
    annotations: AnnotationsOption = None,
    crops: CropsOption = None,
    videos: VideosOption = None,
    subjects: SubjectsOption = None,
    allow_missing_audio: MissingAudioOption = False,
    refuse_shared_subjects: SharedSubjectsOption = False,
) -> None:
    """Go over all annotations, crops and videos; ends with 1 if a training would fail on them."""
    options = DatasetOptions(
        annotations=annotations,
        crops=tuple(crops or ()),
        videos=tuple(videos or ()),
        subjects=subjects,
        allow_missing_audio=allow_missing_audio,
        refuse_shared_subjects=refuse_shared_subjects,
    )
    logger = RunLogger(Console(stderr=True))

    def track(steps: Iterable[CheckedRecording], total: int) -> Iterable[CheckedRecording]:
        return logger.track_progress(steps, total=total, title="checking recordings")

    report = check_dataset(
        data,
        options,
        quick=quick,
        workers=workers or len(os.sched_getaffinity(0)),
        track=track,
    )
    _print_report(Console(), report)
    if report.errors:
        raise typer.Exit(1)


def _print_report(console: Console, report: CheckReport) -> None:
    table = Table("split", "recordings", "subjects", "frames", "annotated", "with a face")
    for split, size in report.sizes.items():
        numbers = (size.recordings, size.subjects, size.rows, size.annotated, size.with_face)
        table.add_row(split, *(f"{number:,}" for number in numbers))
    console.print(table)
    for finding in report.findings:
        style = "red" if finding.severity is Severity.ERROR else None
        line = f"{finding.severity}: {finding.kind}: {finding.detail}"
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
    warnings = len(report.findings) - report.errors
    console.print(f"{report.errors} errors, {warnings} warnings", highlight=False)
