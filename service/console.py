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

ERRORS: Final = Console(stderr=True)
"""Where a command talks to people; standard output is for what it makes."""


def read_settings() -> Settings:
    """The settings, with logs as they say; raises BadParameter naming the variable."""
    try:
        now = Settings()
    except ValidationError as error:
        raise typer.BadParameter(_explain(error)) from None
    configure_logs(now.log_level, now.log_format)
    return now


def say(line: str) -> None:
    """Tell whoever is watching."""
    ERRORS.print(line, markup=False, highlight=False)


@contextmanager
def failing_clearly() -> Generator[None]:
    """End with exit status 1 and a few words where one of our errors is raised."""
    try:
        yield
    except CircumplexError as error:
        _fail(error)


def _fail(error: CircumplexError) -> NoReturn:
    ERRORS.print(f"error [{error.code}]: {error.title()}", style="bold red", markup=False)
    if error.detail != error.title():
        ERRORS.print(error.detail, markup=False)
    raise typer.Exit(1)


def _explain(error: ValidationError) -> str:
    return "; ".join(": ".join((*_variables(part["loc"]), part["msg"])) for part in error.errors())


def _variables(location: tuple[int | str, ...]) -> tuple[str, ...]:
    return tuple(f"CIRCUMPLEX_{str(name).upper()}" for name in location[:1])
