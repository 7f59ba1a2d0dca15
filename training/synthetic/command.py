"""`python -m training synthesise`: a data set, or clips, of the synthetic world. Needs no torch."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.synthetic.order import Order, OrderDiffers, Piece, pieces_of
from training.synthetic.rates import RATES
from training.synthetic.recording import finished_file, write_piece

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def synthetic() -> None:
    """Draw the synthetic world."""


@app.command()
def synthesise(
    out: Annotated[Path, typer.Option(help="An unfinished folder is gone on with.")],
    actors: Annotated[int, typer.Option(min=1, help="How many people.")] = 30,
    seconds: Annotated[float, typer.Option(min=1.0, help="Of each person.")] = 60.0,
    seed: Annotated[int, typer.Option(min=0, help="Different seeds share no person.")] = 0,
    rate: Annotated[
        list[str] | None,
        typer.Option(help=f"Frames a second: {', '.join(RATES)}; may be given several times."),
    ] = None,
    clips: Annotated[
        bool, typer.Option("--clips", help="Clips with truth beside them, at every rate.")
    ] = False,
    as_served: Annotated[
        bool, typer.Option("--as-served", help="Cut crops from decoded video as serving does.")
    ] = False,
    face_models: Annotated[Path, typer.Option(help="For --as-served.")] = Path(".runtime/faces"),
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; else all cores.")] = None,
) -> None:
    """Write actors with known valence and arousal: Aff-Wild2's layout, or clips."""
    rates = tuple(rate or (RATES if clips else ("25",)))
    unknown = sorted(set(rates) - set(RATES))
    if unknown:
        raise typer.BadParameter(f"no such rate: {', '.join(unknown)}", param_hint="--rate")
    order = Order(seed=seed, seconds=seconds, rates=rates, clips=clips, as_served=as_served)
    try:
        order.write(out)
    except OrderDiffers as error:
        Console(stderr=True).print(f"{error}", style="red", markup=False)
        raise typer.Exit(1) from error
    pieces = list(pieces_of(order, actors))
    left = [piece for piece in pieces if not finished_file(out, order, piece).exists()]
    _write_all(out, order, left, len(pieces), face_models, workers)


def _write_all(
    out: Path,
    order: Order,
    left: list[Piece],
    total: int,
    face_models: Path,
    workers: int | None,
) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console()) as progress:
        task = progress.add_task("Synthesising", total=total, completed=total - len(left))
        if not left:
            return
        most = workers or len(os.sched_getaffinity(0))
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(most, len(left)), mp_context=context) as pool:
            work = [pool.submit(write_piece, out, order, piece, face_models) for piece in left]
            try:
                for done in as_completed(work):
                    done.result()
                    progress.advance(task)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
