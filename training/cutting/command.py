"""The `cut-faces` command."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.errors import CircumplexError
from service.settings import Settings
from training.cutting.cut_run import CutProgress, CutReport, cut_videos, plan_cut
from training.data.errors import DatasetError


def cut_faces_command(
    videos: Annotated[list[Path], typer.Argument(help="Videos, or folders of them.")],
    out: Annotated[Path, typer.Argument(help="Folder of crops; an interrupted run continues.")],
    annotations: Annotated[
        Path | None,
        typer.Option(
            help="Folder of Train_Set and Validation_Set: cut the recordings named there."
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Videos that are cut at a time.")] = 1,
) -> None:
    """Cut the faces that the service would find out of videos, in training's layout."""
    console = Console(stderr=True)
    try:
        settings = Settings()
        tasks, missing = plan_cut(videos, annotations, settings)
        with _progress_bar(console) as bar:
            running = cut_videos(
                tasks, out, settings, workers=workers, progress=_show_progress(console, bar)
            )
            report = asyncio.run(running)
    except KeyboardInterrupt:
        console.print("interrupted; repeat the command to continue")
        raise typer.Exit(130) from None
    except (CircumplexError, DatasetError, ValidationError, OSError) as error:
        console.print(f"{type(error).__name__}: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    report.failures = missing | report.failures
    _print_report(Console(), report)
    if report.failures:
        raise typer.Exit(1)


def _progress_bar(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[frames]:,} frames"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _show_progress(console: Console, bar: Progress) -> CutProgress:
    task = bar.add_task("cutting faces", total=None, frames=0)

    def count_frames(count: int) -> None:
        frames = bar.tasks[0].fields["frames"] + count
        bar.update(task, frames=frames)

    def finish_video(name: str, outcome: str) -> None:
        bar.advance(task)
        console.print(f"{name}: {outcome}", markup=False, highlight=False)

    return CutProgress(
        start=lambda total: bar.update(task, total=total),
        count_frames=count_frames,
        finish_video=finish_video,
    )


def _print_report(console: Console, report: CutReport) -> None:
    """Print counts, then what needs a look: videos with flags, without a face, and failures."""
    crops = sum(sum(cut.crops.values()) for cut in report.cut.values())
    frames = sum(cut.frames for cut in report.cut.values())
    lines = [
        f"{len(report.cut)} videos cut: {crops:,} crops of {frames:,} frames; "
        f"{len(report.skipped)} had been cut before; {len(report.failures)} failed"
    ]
    for name, cut in sorted(report.cut.items()):
        empty = [recording for recording, count in cut.crops.items() if not count]
        remarks = [*cut.flags, *(f"no face of {recording}" for recording in empty)]
        if remarks:
            lines.append(f"look at {name}: {', '.join(remarks)}")
    lines += [f"failed {name}: {reason}" for name, reason in sorted(report.failures.items())]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
