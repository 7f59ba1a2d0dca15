"""What every command does alike: it reads the settings, says something, fails clearly."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from service.errors import CircumplexError
from service.settings import Settings
from service.telemetry.logs import configure_logs

STDERR: Final = Console(stderr=True)
"""Where a command talks to people; standard output is for what it makes."""


def load_settings() -> Settings:
    """The settings, with logs as they say; raises BadParameter naming the variable."""
    try:
        settings = Settings()
    except ValidationError as error:
        raise typer.BadParameter(_format_validation_error(error)) from None
    configure_logs(settings.log_level, settings.log_format)
    return settings


def print_status(line: str) -> None:
    """Tell whoever is watching."""
    STDERR.print(line, markup=False, highlight=False)


@contextmanager
def exit_on_error() -> Generator[None]:
    """End with exit status 1 and a few words where one of our errors is raised."""
    try:
        yield
    except CircumplexError as error:
        _print_and_exit(error)


def _print_and_exit(error: CircumplexError) -> NoReturn:
    STDERR.print(f"error [{error.code}]: {error.title()}", style="bold red", markup=False)
    if error.detail != error.title():
        STDERR.print(error.detail, markup=False)
    raise typer.Exit(1)


def _format_validation_error(error: ValidationError) -> str:
    return "; ".join(
        ": ".join((*_variable_names(part["loc"]), part["msg"])) for part in error.errors()
    )


def _variable_names(location: tuple[int | str, ...]) -> tuple[str, ...]:
    return tuple(f"CIRCUMPLEX_{str(name).upper()}" for name in location[:1])
