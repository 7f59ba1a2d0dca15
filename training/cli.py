"""The training room's commands."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from training.export import export_repository
from training.importers.command import import_command
from training.importers.errors import ImportRefused
from training.presets import PRESETS
from training.synthetic.command import synthesise

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.command("import-backbone")(import_command)
app.command()(synthesise)


class PresetName(StrEnum):
    """The presets of `training.presets`, as choices of the command line."""

    MINI = "mini"
    PAPER = "paper"


@app.callback()
def training() -> None:
    """Build and export the networks."""


@app.command()
def export(
    preset: Annotated[PresetName, typer.Option(help="Size of the networks.")],
    repository: Annotated[Path, typer.Option(help="What Triton serves.")] = Path(
        "model_repository"
    ),
    seed: Annotated[int, typer.Option(help="Seed of the untrained weights.")] = 0,
    visual: Annotated[Path | None, typer.Option(help="An imported visual backbone.")] = None,
    audio: Annotated[Path | None, typer.Option(help="An imported audio backbone.")] = None,
) -> None:
    """Write the weights that Triton serves, and where they came from."""
    console = Console()
    try:
        exported = export_repository(
            PRESETS[preset], repository=repository, seed=seed, visual=visual, audio=audio
        )
    except ImportRefused as error:
        Console(stderr=True).print(f"{type(error).__name__}: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    for name, model in exported.items():
        console.print(f"{name}: {model.parameters:,} parameters, {model.weights_sha256[:12]}")
