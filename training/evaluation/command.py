"""The `evaluate` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from training.data.errors import DatasetError
from training.data.layout import Split
from training.evaluation.report import evaluate
from training.loop.errors import RunError
from training.loop.journal import Journal
from training.loop.ranks import join_ranks


def evaluate_command(
    run: Annotated[Path, typer.Option(help="A trained run.")],
    data: Annotated[Path, typer.Option(help="A folder in Aff-Wild2's layout.")],
    split: Annotated[Split, typer.Option(help="The part to evaluate on.")] = Split.VALIDATION,
    ablation: Annotated[
        list[Path] | None, typer.Option(help="A run that was ablated, for the table; repeatable.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Score a run and write report, predictions and submission to RUN/evaluation."""
    console = Console()
    try:
        with join_ranks(device) as ranks:
            report = evaluate(
                run,
                data,
                split=split,
                device=ranks.device,
                journal=Journal(console),
                ablations=ablation or (),
            )
    except (DatasetError, RunError) as error:
        console.print(f"{type(error).__name__}: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    console.print(_table(report))
    console.print(f"{run / 'evaluation' / split}", markup=False, highlight=False)


def _table(report: dict[str, Any]) -> Table:
    title = f"CCC, {report['subjects']} subjects, {report['scored']} frames"
    table = Table("", "valence", "arousal", "mean", "held out", title=title)
    rows = {f"fold {fold}": figures for fold, figures in report["folds"].items()}
    rows |= {"ensemble": report["ensemble"], "smoothed": report.get("ensemble_smoothed")}
    rows |= report["ablations"]
    rows |= {"90 % coverage": report.get("coverage_90")}
    for name, figures in rows.items():
        if figures is not None:
            numbers = (f"{figures[key]:.3f}" for key in ("valence", "arousal", "mean"))
            table.add_row(
                name, *numbers, {True: "yes", False: "no"}.get(figures.get("held_out"), "")
            )
    return table
