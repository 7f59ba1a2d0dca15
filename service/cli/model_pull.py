"""Licences and the file of a model that is pulled."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from service.cli.console import STDERR, print_status
from service.errors import LicenceNotAccepted, ModelFileMismatch
from service.model_catalogue.entries import CatalogueEntry
from service.model_catalogue.pulled_files import OnProgress, PulledFiles


def fetch_file(
    entry: CatalogueEntry,
    files: PulledFiles,
    accepted: list[str],
    source: Path | None,
    proxy: str | None,
) -> Path:
    """Return the path of the entry's file, copied or downloaded if it is not there yet."""
    if source is not None:
        return files.copy(entry, source, accepted)
    if files.has(entry):
        try:
            files.check(entry)
        except ModelFileMismatch as error:
            print_status(f"{error.detail}; it is downloaded again")
        else:
            print_status(f"{entry.name} is pulled already")
            return files.get_path(entry)
    with _progress_bar(entry.name) as on_progress:
        return files.download(entry, accepted, proxy=proxy, on_progress=on_progress)


def accept_licences(entry: CatalogueEntry, given: list[str]) -> list[str]:
    """Return the names of the accepted licences, all three.

    Raises: LicenceNotAccepted: one is neither given nor accepted on a terminal.
    """
    licences = entry.licences.by_name()
    foreign = [each for each in given if each not in licences]
    if foreign:
        raise LicenceNotAccepted(
            f"{foreign[0][:80]!r} is no licence of {entry.name}: {', '.join(licences)}"
        )
    missing = {each: licence for each, licence in licences.items() if each not in given}
    if missing and sys.stdin.isatty() and STDERR.is_terminal:
        for each, licence in missing.items():
            print_status(f"{each}: {licence.statement}")
            if not typer.confirm(f"Do you accept {each}?", err=True):
                raise LicenceNotAccepted(f"{each} is not accepted")
    elif missing:
        lines = [
            f"  --accept-licence {each}\n      {licence.statement}"
            for each, licence in missing.items()
        ]
        raise LicenceNotAccepted("\n".join(["each has to be accepted by its name:", *lines]))
    return list(licences)


@contextmanager
def _progress_bar(name: str) -> Generator[OnProgress]:
    columns = (TextColumn(name), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=STDERR) as bar:
        task = bar.add_task("downloading", total=None)

        def on_progress(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total)

        yield on_progress
