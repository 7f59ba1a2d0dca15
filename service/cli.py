"""The command line: start a process of the service, or annotate one clip right here."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from service import cli_keys, offline
from service.access.gate import asks_for_keys
from service.console import ERRORS, failing_clearly, read_settings, say
from service.domain.choices import Choices, Faces
from service.domain.timeline import FramesSeen
from service.results.columns import Result
from service.results.formats import format_named
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.wiring import open_analyst, run_gateway, run_worker

app = typer.Typer(
    name="circumplex",
    help="Valence and arousal for every frame of a clip, from face and voice.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(cli_keys.app)


@app.command()
def gateway() -> None:
    """Serve REST, gRPC, streams, health and metrics."""
    with failing_clearly():
        asyncio.run(run_gateway(read_settings()))


@app.command()
def worker() -> None:
    """Work on queued jobs until SIGTERM, then finish or hand back what is under way."""
    with failing_clearly():
        asyncio.run(run_worker(read_settings()))


@app.command()
def up() -> None:
    """Run Redis, Triton, a worker and the gateway here until Ctrl-C."""
    from service.embedded.stack import run_stack  # an extra that the image leaves out

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = read_settings()
    with failing_clearly():  # before anything is started for nothing
        let_in = "holders of API keys" if asks_for_keys(settings) else "everybody"
    with (
        failing_clearly(),
        suppress(KeyboardInterrupt),
        run_stack(settings, on_start=lambda part: say(f"starting {part} ...")) as stack,
    ):
        table = Table.grid(padding=(0, 2))
        table.add_row("access", let_in)
        for name, address in stack.addresses.items():
            table.add_row(name, address)
        Console().print("Circumplex is up; Ctrl-C stops it.", table, sep="\n")
        try:
            stack.wait()
        finally:
            say("stopping ...")


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
    with failing_clearly():
        format_named(output.suffix)
        offline.check_plot(plot)
        with open_triton(read_settings(), on_start=say) as settings, _progress_bar() as on_progress:
            result = asyncio.run(_annotate(clip, choices, settings, on_progress))
        offline.write(result, output)
        if plot is not None:
            offline.plot(result, plot)
        flags = f" ({', '.join(result.flags)})" if result.flags else ""
        say(f"{len(result.frames)} frames{flags} in {output}")


@app.command()
def settings() -> None:
    """Print every setting as a line of an env file, what it is for above it."""
    with failing_clearly():
        now = read_settings()
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


@contextmanager
def _progress_bar() -> Generator[Callable[[FramesSeen], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=ERRORS) as bar:
        task = bar.add_task("annotating", total=None)

        def on_progress(seen: FramesSeen) -> None:
            total = None if seen.expected is None else max(seen.expected, seen.done)
            bar.update(task, completed=seen.done, total=total)

        yield on_progress
