"""The `export-pulled` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from service.errors import CircumplexError
from service.model_catalogue.entries import read_catalogue
from training.importers.errors import ImportRefused
from training.pulled.export_pulled import export_pulled


def export_pulled_command(
    name: Annotated[str, typer.Argument(help="Name of the entry in the catalogue.")],
    file: Annotated[Path, typer.Option(help="The file that was pulled.")],
    repository: Annotated[Path, typer.Option(help="Triton's model repository.")] = Path(
        "model_repository"
    ),
    catalogue: Annotated[
        Path | None, typer.Option(help="A catalogue of one's own; default: this project's.")
    ] = None,
) -> None:
    """Write a pulled network as an estimator; `circumplex models pull` calls this."""
    try:
        manifest = export_pulled(read_catalogue(catalogue).find(name), file, repository)
    except (CircumplexError, ImportRefused) as error:
        console = Console(stderr=True, soft_wrap=True)
        console.print(f"{type(error).__name__}: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    typer.echo(str(manifest.id))
