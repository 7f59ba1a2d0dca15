"""The `ship` and `reproduce` commands."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, NoReturn

import torch
import typer
from rich.console import Console

from training.loop.errors import RunError
from training.loop.run_logger import RunLogger
from training.recipe import SHIPPED_RECIPE
from training.shipping.release import ship_run
from training.shipping.reproduction import build_command, run_recipe


def ship_command(
    run: Annotated[Path, typer.Option(help="A trained, calibrated and evaluated run.")],
    out: Annotated[Path, typer.Option(help="A new folder, or one with an earlier release.")],
    report: Annotated[
        Path | None, typer.Option(help="Report on the test set; default: RUN's evaluation.")
    ] = None,
) -> None:
    """Copy the files of a run to commit to a folder, with its report and a model card."""
    console = Console()
    try:
        size = ship_run(run, out, report=report)
    except RunError as error:
        _exit_with_error(error)
    console.print(f"{out}: {size:,} bytes", markup=False, highlight=False)


def reproduce_command(
    out: Annotated[Path, typer.Option(help="Output folder; the weights go to OUT/mini.")],
    processes: Annotated[
        int | None, typer.Option(min=1, help="Training processes; default 1 on a GPU, else 2.")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Only show the commands.")] = False,
) -> None:
    """Reproduce the shipped weights from nothing; repeat the command to resume."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    count = processes or (1 if torch.cuda.is_available() else 2)
    console = Console(soft_wrap=True)
    if show:
        for step in SHIPPED_RECIPE.build_steps(out):
            command = " ".join(["python", *build_command(step, count)[1:]])
            console.print(command, markup=False, highlight=False)
        return
    try:
        run_recipe(SHIPPED_RECIPE, out, processes=count, logger=RunLogger(console))
    except RunError as error:
        _exit_with_error(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _exit_with_error(error: RunError) -> NoReturn:
    Console(stderr=True).print(f"{type(error).__name__}: {error}", style="red", markup=False)
    raise typer.Exit(1) from error
