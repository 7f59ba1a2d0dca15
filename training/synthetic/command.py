"""The `synthesise` command: writes a data set or clips of the synthetic world. Needs no torch."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.synthetic.dataset_spec import ClipSpec, DatasetSpec, SpecMismatch, iter_clip_specs
from training.synthetic.frame_rates import RATES
from training.synthetic.recording_writer import get_completion_file, write_recording

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def synthetic() -> None:
    """Synthesise data sets and clips."""


@app.command()
def synthesise(
    out: Annotated[Path, typer.Option(help="Output folder; an unfinished one is resumed.")],
    actors: Annotated[int, typer.Option(min=1, help="Number of actors.")] = 30,
    seconds: Annotated[float, typer.Option(min=1.0, help="Length of each clip.")] = 60.0,
    seed: Annotated[int, typer.Option(min=0, help="Different seeds share no actor.")] = 0,
    rate: Annotated[
        list[str] | None,
        typer.Option(help=f"Frames per second: {', '.join(RATES)}; repeatable."),
    ] = None,
    clips: Annotated[
        bool, typer.Option("--clips", help="Write clips with their truth, at every rate.")
    ] = False,
    as_served: Annotated[
        bool, typer.Option("--as-served", help="Cut crops from decoded video as in serving.")
    ] = False,
    face_models: Annotated[Path, typer.Option(help="For --as-served.")] = Path(".runtime/faces"),
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; default: all cores.")
    ] = None,
) -> None:
    """Write actors with known valence and arousal: Aff-Wild2's layout, or clips."""
    rates = tuple(rate or (RATES if clips else ("25",)))
    unknown = sorted(set(rates) - set(RATES))
    if unknown:
        raise typer.BadParameter(f"no such rate: {', '.join(unknown)}", param_hint="--rate")
    spec = DatasetSpec(seed=seed, seconds=seconds, rates=rates, clips=clips, as_served=as_served)
    try:
        spec.write(out)
    except SpecMismatch as error:
        Console(stderr=True).print(f"{error}", style="red", markup=False)
        raise typer.Exit(1) from error
    clip_specs = list(iter_clip_specs(spec, actors))
    pending = [each for each in clip_specs if not get_completion_file(out, spec, each).exists()]
    _write_all(out, spec, pending, len(clip_specs), face_models, workers)


def _write_all(
    out: Path,
    spec: DatasetSpec,
    pending: list[ClipSpec],
    total: int,
    face_models: Path,
    workers: int | None,
) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console()) as progress:
        task = progress.add_task("Synthesising", total=total, completed=total - len(pending))
        if not pending:
            return
        max_workers = workers or len(os.sched_getaffinity(0))
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(max_workers, len(pending)), mp_context=context) as pool:
            futures = [
                pool.submit(write_recording, out, spec, each, face_models) for each in pending
            ]
            try:
                for done in as_completed(futures):
                    done.result()
                    progress.advance(task)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
