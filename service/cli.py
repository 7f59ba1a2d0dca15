"""The command line: start a process of the service, or annotate one clip right here."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from prometheus_client import CollectorRegistry
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from service import offline
from service.domain.choices import Choices, Faces
from service.domain.timeline import FramesSeen
from service.errors import CircumplexError
from service.results.columns import Result
from service.results.formats import format_named
from service.settings import Settings
from service.telemetry.logs import configure_logs
from service.telemetry.metrics import Metrics
from service.wiring import open_analyst, run_gateway, run_worker

app = typer.Typer(
    name="circumplex",
    help="Valence and arousal for every frame of a clip, from face and voice.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_errors = Console(stderr=True)


@app.command()
def gateway() -> None:
    """Serve REST, health and metrics."""
    with _failing_clearly():
        asyncio.run(run_gateway(_settings()))


@app.command()
def worker() -> None:
    """Work on queued jobs until SIGTERM, then finish or hand back what is under way."""
    with _failing_clearly():
        asyncio.run(run_worker(_settings()))


@app.command()
def up() -> None:
    """Run Redis, Triton, a worker and the gateway here until Ctrl-C."""
    from service.embedded.stack import run_stack  # an extra that the image leaves out

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        _failing_clearly(),
        suppress(KeyboardInterrupt),
        run_stack(_settings(), on_start=lambda part: _say(f"starting {part} ...")) as stack,
    ):
        table = Table.grid(padding=(0, 2))
        for name, address in stack.addresses.items():
            table.add_row(name, address)
        Console().print("Circumplex is up; Ctrl-C stops it.", table, sep="\n")
        try:
            stack.wait()
        finally:
            _say("stopping ...")


@app.command()
def annotate(
    clip: Annotated[Path, typer.Argument(help="The video.", exists=True, dir_okay=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where the points go: a .csv or .json file.")
    ],
    plot: Annotated[
        Path | None, typer.Option(help="Also draw them: valence and arousal over time.")
    ] = None,
    faces: Annotated[Faces, typer.Option(help="The face that is there most, or all.")] = (
        Faces.PRIMARY
    ),
    video_stream: Annotated[
        int | None, typer.Option(min=0, help="Which stream to look at, as ffprobe counts them.")
    ] = None,
    audio_stream: Annotated[
        int | None, typer.Option(min=0, help="Which stream to listen to, as ffprobe counts them.")
    ] = None,
) -> None:
    """Annotate one clip without a gateway.

    Uses the Triton at CIRCUMPLEX_TRITON_URL; where none answers, a private one runs meanwhile.
    """
    from service.embedded.stack import open_triton  # an extra that the image leaves out

    choices = Choices(faces=faces, video_stream=video_stream, audio_stream=audio_stream)
    with _failing_clearly():
        format_named(output.suffix)
        offline.check_plot(plot)
        with open_triton(_settings(), on_start=_say) as settings, _progress_bar() as on_progress:
            result = asyncio.run(_annotate(clip, choices, settings, on_progress))
        offline.write(result, output)
        if plot is not None:
            offline.plot(result, plot)
        flags = f" ({', '.join(result.flags)})" if result.flags else ""
        _say(f"{len(result.frames)} frames{flags} in {output}")


@app.command()
def settings() -> None:
    """Print every setting as a line of an env file, what it is for above it."""
    with _failing_clearly():
        now = _settings()
        for name, field in Settings.model_fields.items():
            value, default = getattr(now, name), field.default
            changed = "" if value == default else f" (default: {_written(default)})"
            typer.echo(f"# {field.description}{changed}")
            typer.echo(f"CIRCUMPLEX_{name.upper()}={_written(value)}")


def _written(value: object) -> str:
    return "" if value is None else str(value)


async def _annotate(
    clip: Path, choices: Choices, settings: Settings, on_progress: Callable[[FramesSeen], None]
) -> Result:
    async with open_analyst(settings, Metrics(CollectorRegistry())) as analyst:
        return await offline.annotate(
            clip, choices, analyst=analyst, settings=settings, on_progress=on_progress
        )


def _settings() -> Settings:
    try:
        now = Settings()
    except ValidationError as error:
        raise typer.BadParameter(_explain(error)) from None
    configure_logs(now.log_level, now.log_format)
    return now


def _explain(error: ValidationError) -> str:
    return "; ".join(": ".join((*_variables(part["loc"]), part["msg"])) for part in error.errors())


def _variables(location: tuple[int | str, ...]) -> tuple[str, ...]:
    return tuple(f"CIRCUMPLEX_{str(name).upper()}" for name in location[:1])


@contextmanager
def _progress_bar() -> Generator[Callable[[FramesSeen], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_errors) as bar:
        task = bar.add_task("annotating", total=None)

        def on_progress(seen: FramesSeen) -> None:
            total = None if seen.expected is None else max(seen.expected, seen.done)
            bar.update(task, completed=seen.done, total=total)

        yield on_progress


@contextmanager
def _failing_clearly() -> Generator[None]:
    try:
        yield
    except CircumplexError as error:
        _fail(error)


def _fail(error: CircumplexError) -> NoReturn:
    _errors.print(f"error [{error.code}]: {error.title()}", style="bold red", markup=False)
    if error.detail != error.title():
        _errors.print(error.detail, markup=False)
    raise typer.Exit(1)


def _say(line: str) -> None:
    _errors.print(line, markup=False, highlight=False)
