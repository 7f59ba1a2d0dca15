"""The `export-expression` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from service.domain.estimator import EstimatorId
from service.estimators.repository import EstimatorRepository
from training.export import ExportTarget, print_manifest
from training.expression.errors import ExpressionError
from training.expression.estimator import EXPRESSION, export_expression
from training.expression.weight_files import WEIGHTS_FOLDER


def export_expression_command(
    repository: Annotated[Path, typer.Option(help="Triton's model repository.")] = Path(
        "model_repository"
    ),
    weights: Annotated[Path, typer.Option(help="Folder of the fetched files.")] = WEIGHTS_FOLDER,
    new_version: Annotated[
        bool, typer.Option("--new-version", help="After the newest one, instead of version 1.")
    ] = False,
) -> None:
    """Write the estimator `expression` from the networks that set-up has fetched."""
    version = EstimatorRepository(repository).next_version(EXPRESSION) if new_version else 1
    target = ExportTarget(repository=repository, estimator=EstimatorId(EXPRESSION, version))
    try:
        manifest = export_expression(target, weights)
    except ExpressionError as error:
        Console(stderr=True).print(f"{type(error).__name__}: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    print_manifest(manifest)
