"""The training room's commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from training.evaluation.command import evaluate_command
from training.export import export_repository
from training.importers.command import import_command
from training.importers.errors import ImportRefused
from training.loop.command import PresetName, train_command
from training.loop.errors import RunError
from training.presets import PRESETS
from training.runs_served import export_run
from training.synthetic.command import synthesise

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.command("import-backbone")(import_command)
app.command()(synthesise)
app.command("train")(train_command)
app.command("evaluate")(evaluate_command)


@app.callback()
def training() -> None:
    """Make, train, evaluate, import and export what the service serves."""


@app.command()
def export(
    preset: Annotated[
        PresetName | None, typer.Option(help="Untrained networks of this size.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="A trained run.")] = None,
    repository: Annotated[Path, typer.Option(help="What Triton serves.")] = Path(
        "model_repository"
    ),
    seed: Annotated[int, typer.Option(help="Seed of the untrained weights.")] = 0,
    visual: Annotated[Path | None, typer.Option(help="An imported visual backbone.")] = None,
    audio: Annotated[Path | None, typer.Option(help="An imported audio backbone.")] = None,
) -> None:
    """Write the weights that Triton serves, and where they came from."""
    if (preset is None) == (run is None) or (run and (visual or audio)):
        raise typer.BadParameter("Either --run alone, or --preset, maybe with --visual, --audio.")
    console = Console()
    try:
        if run is not None:
            exported = export_run(run, repository=repository)
        else:
            chosen = PRESETS[preset or PresetName.MINI]
            exported = export_repository(
                chosen, repository=repository, seed=seed, visual=visual, audio=audio
            )
    except (ImportRefused, RunError) as error:
        Console(stderr=True).print(f"{type(error).__name__}: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    for name, model in exported.items():
        console.print(f"{name}: {model.parameters:,} parameters, {model.weights_sha256[:12]}")
