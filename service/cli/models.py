"""`circumplex models`: list, pull, verify and remove models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from service.cli.console import (
    exit_on_error,
    load_settings,
    print_status,
    print_table,
    stop_on_signals,
)
from service.cli.model_export import export_pulled_model, require_training_code
from service.cli.model_pull import accept_licences, fetch_file
from service.cli.model_rows import list_catalogue_rows, list_exported_rows
from service.cli.model_versions import load, unload, use
from service.domain.estimator import EstimatorChoice, EstimatorId
from service.errors import (
    CircumplexError,
    ModelUnknown,
)
from service.estimators.repository import EstimatorRepository
from service.estimators.verification import FileVerifier
from service.model_catalogue.entries import Catalogue, CatalogueEntry, read_catalogue
from service.model_catalogue.pulled_files import FOLDER_NAME, PulledFiles
from service.settings import Settings

app = typer.Typer(
    name="models",
    help="List, pull, verify and remove models; load, use and unload their versions.",
    no_args_is_help=True,
)
for command in (load, use, unload):
    app.command()(command)

CatalogueOption = Annotated[
    Path | None, typer.Option(help="A catalogue of one's own; default: the project's.")
]


@app.command("list")
def list_models(catalogue: CatalogueOption = None) -> None:
    """List the exported models, and those of the catalogue that can be pulled."""
    with exit_on_error():
        settings = load_settings()
        repository = EstimatorRepository(settings.model_repository)
        entries, files = read_catalogue(catalogue), _open_files(settings)
        exported = {each.name for each in repository.list_ids()}
        rows = list_exported_rows(repository) + list_catalogue_rows(entries, files, exported)
    table = Table("model", "state", "learnt from", "CCC", "size", "licences", box=None)
    for row in rows:
        table.add_row(*row)
    print_table(table)


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="Name of an entry of the catalogue.")],
    accept_licence: Annotated[
        list[str] | None,
        typer.Option(help="A licence that you accept, once for each of the three."),
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="The file, if it is on this machine already.")
    ] = None,
    proxy: Annotated[
        str | None, typer.Option(help="URL of a proxy, instead of the environment's.")
    ] = None,
    catalogue: CatalogueOption = None,
) -> None:
    """Download a published model, check its hash and export it for Triton."""
    stop_on_signals()
    settings = load_settings()
    with exit_on_error():
        entry = read_catalogue(catalogue).find(name)
        accepted = accept_licences(entry, accept_licence or [])
        require_training_code()
        file = fetch_file(entry, _open_files(settings), accepted, source, proxy)
        model = export_pulled_model(entry, file, settings.model_repository, catalogue)
        print_status(
            f"{model} is exported in {settings.model_repository}. To serve it, name it in "
            "CIRCUMPLEX_MODELS."
        )
    typer.echo(model)


@app.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="One model; default: all.")] = None,
    catalogue: CatalogueOption = None,
) -> None:
    """Hold pulled files to the catalogue, and exported ones to their manifests."""
    with exit_on_error():
        settings = load_settings()
        repository = EstimatorRepository(settings.model_repository)
        entries, files = read_catalogue(catalogue), _open_files(settings)
        failures, checked = 0, 0
        for entry in entries.entries:
            if name in (None, entry.name) and files.has(entry):
                failures += _report(
                    f"{entry.name}: the pulled file", lambda e=entry: files.check(e)
                )
                checked += 1
        verifier = FileVerifier(repository)
        for each in repository.list_ids():
            if name in (None, each.name, str(each)):
                failures += _report(
                    f"{each}: the exported files",
                    lambda e=each: verifier.verify(repository.read_manifest(e)),
                )
                checked += 1
        if name is not None and not checked:
            raise ModelUnknown(f"{name[:80]!r} is neither pulled nor exported")
    if failures:
        raise typer.Exit(1)


@app.command()
def remove(
    model: Annotated[str, typer.Argument(help="NAME: all of it; NAME@VERSION: one version.")],
    catalogue: CatalogueOption = None,
) -> None:
    """Delete a pulled file and the exported models of its name, or one version.

    What CIRCUMPLEX_MODELS names is not deleted.
    """
    with exit_on_error():
        settings = load_settings()
        repository = EstimatorRepository(settings.model_repository)
        choice = _parse_choice(model)
        exported = [each for each in repository.list_ids() if _is_meant(each, choice)]
        entry = _find_entry(read_catalogue(catalogue), choice)
        _refuse_served(settings, choice, exported)
        found = entry is not None and _open_files(settings).remove(entry)
        with repository.locked():
            for each in exported:
                repository.remove(each)
        if not found and not exported:
            raise ModelUnknown(f"{model[:80]!r} is neither pulled nor exported")
        removed = [*(["the pulled file"] if found else []), *map(str, exported)]
        print_status(f"removed: {', '.join(removed)}")


def _open_files(settings: Settings) -> PulledFiles:
    return PulledFiles(settings.runtime_dir / FOLDER_NAME)


def _report(subject: str, check: Callable[[], object]) -> bool:
    """Print the outcome of a check; True if it failed."""
    try:
        check()
    except CircumplexError as error:
        typer.echo(f"{subject}: {error.code}: {error.detail}")
        return True
    typer.echo(f"{subject}: as named")
    return False


def _parse_choice(model: str) -> EstimatorChoice:
    try:
        return EstimatorChoice.parse(model)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _is_meant(estimator: EstimatorId, choice: EstimatorChoice) -> bool:
    return estimator.name == choice.name and choice.version in (None, estimator.version)


def _find_entry(catalogue: Catalogue, choice: EstimatorChoice) -> CatalogueEntry | None:
    """Return the entry whose file is meant: that of a name without a version."""
    if choice.version is not None:
        return None
    return next((each for each in catalogue.entries if each.name == choice.name), None)


def _refuse_served(
    settings: Settings, choice: EstimatorChoice, exported: list[EstimatorId]
) -> None:
    """Raise BadParameter if the settings serve one of the models."""
    repository = EstimatorRepository(settings.model_repository)
    for text in settings.served_models:
        served = EstimatorChoice.parse(text)
        if served.name == choice.name and exported and repository.resolve(served) in exported:
            raise typer.BadParameter(
                f"{text} is among CIRCUMPLEX_MODELS; take it out there before it is removed"
            )
