"""Console of the commands: settings, status lines and errors."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from service.errors import CircumplexError
from service.settings import Settings
from service.telemetry.logs import configure_logs

STDERR: Final = Console(stderr=True)
"""Console for status and errors; standard output is for a command's product."""
_PIPED_TABLE_WIDTH: Final = 400
"""Width of a table that is written to a file or a pipe."""


def load_settings() -> Settings:
    """Load the settings and configure the logs; raises BadParameter naming the variable."""
    try:
        settings = Settings()
    except ValidationError as error:
        raise typer.BadParameter(_format_validation_error(error)) from None
    configure_logs(settings.log_level, settings.log_format)
    return settings


def stop_on_signals() -> None:
    """Let SIGTERM, and the end of the terminal (SIGHUP), stop a command as Ctrl-C does.

    A signal that is ignored, as by nohup, stays ignored.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def print_status(line: str) -> None:
    """Print a line for people; it stays one line."""
    STDERR.print(line, markup=False, highlight=False, soft_wrap=True)


def print_table(table: Table) -> None:
    """Print a table to standard output, unfolded unless that is a terminal."""
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = _PIPED_TABLE_WIDTH
    console.print(table)


@contextmanager
def exit_on_error() -> Generator[None]:
    """Print a CircumplexError and end with exit status 1."""
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
