"""Command line of training: every subcommand of `python -m training`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from training.checking.command import check_command
from training.cutting.command import cut_faces_command
from training.evaluation.command import (
    calibrate_command,
    evaluate_command,
    uncertainty_command,
)
from training.export import export_repository
from training.export_run import export_run
from training.importers.command import import_command
from training.importers.errors import ImportRefused
from training.loop.command import PresetName, train_command
from training.loop.errors import RunError
from training.presets import PRESETS
from training.runs import CONFIG_FILE
from training.shipping.command import reproduce_command, ship_command
from training.synthetic.command import synthesise

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.command("import-backbone")(import_command)
app.command()(synthesise)
app.command("check")(check_command)
app.command("cut-faces")(cut_faces_command)
app.command("train")(train_command)
app.command("calibrate")(calibrate_command)
app.command("evaluate")(evaluate_command)
app.command("uncertainty")(uncertainty_command)
app.command("ship")(ship_command)
app.command("reproduce")(reproduce_command)


@app.callback()
def training() -> None:
    """Make and check data; train, evaluate, import, ship and export the served networks."""


@app.command()
def export(
    preset: Annotated[
        PresetName | None,
        typer.Option(help="Network size: uses WEIGHTS/<preset>, or untrained weights."),
    ] = None,
    run: Annotated[Path | None, typer.Option(help="A trained run.")] = None,
    repository: Annotated[Path, typer.Option(help="Triton's model repository.")] = Path(
        "model_repository"
    ),
    weights: Annotated[Path, typer.Option(help="Folder of shipped weights.")] = Path("weights"),
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Use random weights instead of shipped ones.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of untrained weights; default 0.")] = None,
    visual: Annotated[Path | None, typer.Option(help="An imported visual backbone.")] = None,
    audio: Annotated[Path | None, typer.Option(help="An imported audio backbone.")] = None,
) -> None:
    """Write the models that Triton serves, and their provenance."""
    untrained = untrained or seed is not None or visual is not None or audio is not None
    if (preset is None) == (run is None) or (run and untrained):
        raise typer.BadParameter("Either --run alone, or --preset with its options.")
    console = Console()
    run_folder = run or (None if untrained else _find_shipped_weights(weights, preset))
    try:
        if run_folder is not None:
            exported = export_run(run_folder, repository=repository)
        else:
            selected_preset = PRESETS[preset or PresetName.MINI]
            exported = export_repository(
                selected_preset, repository=repository, seed=seed or 0, visual=visual, audio=audio
            )
    except (ImportRefused, RunError) as error:
        Console(stderr=True).print(f"{type(error).__name__}: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    origin = f"{preset}, untrained" if run_folder is None else f"{run_folder}, trained"
    console.print(origin, markup=False, highlight=False)
    for name, model in exported.items():
        console.print(f"{name}: {model.parameters:,} parameters, {model.weights_sha256[:12]}")


def _find_shipped_weights(weights: Path, preset: PresetName | None) -> Path | None:
    """Return the folder of the preset's shipped weights, None if there are none."""
    folder = weights / (preset or "")
    return folder if (folder / CONFIG_FILE).is_file() else None
