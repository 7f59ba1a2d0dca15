"""Command line of training: every subcommand of `python -m training`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from service.domain.estimator import MAX_VERSION, NAME_PATTERN, EstimatorId
from service.estimators.repository import EstimatorRepository
from training.checking.command import check_command
from training.cutting.command import cut_faces_command
from training.data.calibration_data import read_samples
from training.data.errors import DatasetError
from training.evaluation.command import (
    calibrate_command,
    evaluate_command,
    uncertainty_command,
)
from training.export import ExportTarget, export_untrained, print_manifest
from training.export_run import export_run
from training.expression.command import export_expression_command
from training.head_fitting.command import fit_head_command
from training.importers.command import import_command
from training.importers.errors import ImportRefused
from training.inference.precision import Precision
from training.inspection.command import contact_sheet_command
from training.loop.command import PresetName, train_command
from training.loop.errors import RunError
from training.presets import PRESETS
from training.pulled.command import export_pulled_command
from training.runs import CONFIG_FILE
from training.shipping.command import reproduce_command, ship_command
from training.synthetic.command import synthesise

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.command("import-backbone")(import_command)
app.command("export-expression")(export_expression_command)
app.command("export-pulled")(export_pulled_command)
app.command()(synthesise)
app.command("check")(check_command)
app.command("cut-faces")(cut_faces_command)
app.command("train")(train_command)
app.command("calibrate")(calibrate_command)
app.command("evaluate")(evaluate_command)
app.command("uncertainty")(uncertainty_command)
app.command("fit-head")(fit_head_command)
app.command("ship")(ship_command)
app.command("reproduce")(reproduce_command)
app.command("contact-sheet")(contact_sheet_command)


@app.callback()
def training() -> None:
    """Make and check data; train, evaluate, import, ship and export the served networks."""


@app.command()
def export(  # noqa: PLR0913, PLR0917 - the options of a command
    preset: Annotated[
        PresetName | None,
        typer.Option(help="Network size: uses WEIGHTS/<preset>, or untrained weights."),
    ] = None,
    run: Annotated[Path | None, typer.Option(help="A trained run.")] = None,
    repository: Annotated[Path, typer.Option(help="Triton's model repository.")] = Path(
        "model_repository"
    ),
    name: Annotated[
        str | None, typer.Option(help="Name of the model; default: that of the preset or run.")
    ] = None,
    version: Annotated[
        str,
        typer.Option(help="A number, or `new`: after the newest. Default: 1; of a run, new."),
    ] = "",
    weights: Annotated[Path, typer.Option(help="Folder of shipped weights.")] = Path("weights"),
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Use random weights instead of shipped ones.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of untrained weights; default 0.")] = None,
    visual: Annotated[Path | None, typer.Option(help="An imported visual backbone.")] = None,
    audio: Annotated[Path | None, typer.Option(help="An imported audio backbone.")] = None,
    precision: Annotated[
        Precision,
        typer.Option(help="Of the backbones; bfloat16 and int8 need a processor that has them."),
    ] = Precision.FLOAT32,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Data set that int8 measures the layers' ranges on; needed by it."),
    ] = None,
) -> None:
    """Write an estimator that Triton serves: its models and its manifest."""
    if not precision.is_native:
        raise typer.BadParameter(f"this processor has no {precision}", param_hint="--precision")
    if (precision is Precision.INT8) != (calibration is not None):
        raise typer.BadParameter("int8, and it alone, needs it", param_hint="--calibration")
    untrained = untrained or seed is not None or visual is not None or audio is not None
    if (preset is None) == (run is None) or (run and untrained):
        raise typer.BadParameter("Either --run alone, or --preset with its options.")
    run_folder = run or (None if untrained else _find_shipped_weights(weights, preset))
    try:
        target = replace(
            _choose_target(repository, name, version, preset, run),
            precision=precision,
            samples=read_samples(calibration) if calibration else None,
        )
        if run_folder is not None:
            manifest = export_run(run_folder, target)
        else:
            selected_preset = PRESETS[preset or PresetName.MINI]
            manifest = export_untrained(
                selected_preset, target, seed=seed or 0, visual=visual, audio=audio
            )
    except (DatasetError, ImportRefused, RunError) as error:
        Console(stderr=True).print(f"{type(error).__name__}: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    print_manifest(manifest)


def _choose_target(
    repository: Path, name: str | None, version: str, preset: str | None, run: Path | None
) -> ExportTarget:
    """Return the place of the export; `new`, and a run's default, is the version after the newest.

    So nothing of one's own replaces what is exported already.
    """
    name = name or preset or (run.resolve().name.lower() if run else "")
    if NAME_PATTERN.fullmatch(name) is None:
        raise typer.BadParameter(
            f"{name!r}: a-z first, then a-z, 0-9, _ and -", param_hint="--name"
        )
    version = version or ("new" if run else "1")
    if version == "new":
        number = EstimatorRepository(repository).next_version(name)
    elif version.isdecimal() and 0 < int(version) <= MAX_VERSION:
        number = int(version)
    else:
        raise typer.BadParameter(
            f"a number from 1 to {MAX_VERSION}, or new", param_hint="--version"
        )
    return ExportTarget(repository=repository, estimator=EstimatorId(name, number))


def _find_shipped_weights(weights: Path, preset: PresetName | None) -> Path | None:
    """Return the folder of the preset's shipped weights, None if there are none."""
    folder = weights / (preset or "")
    return folder if (folder / CONFIG_FILE).is_file() else None
