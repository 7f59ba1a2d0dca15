"""Command line: start a process of the service, or annotate one clip without a gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Generator
from contextlib import aclosing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from service.auth.authenticator import requires_keys
from service.cli import keys, models
from service.cli.console import (
    STDERR,
    exit_on_error,
    load_settings,
    print_status,
    stop_on_signals,
)
from service.cli.output_file import open_output
from service.domain.clip import AnalysisProgress
from service.domain.estimator import describe_model
from service.domain.options import AnalysisOptions, FaceSelection
from service.errors import ResultFormatUnknown
from service.results.builder import AnalysisResult, ResultBuilder
from service.results.formats import JSON, find_format
from service.results.plot import PLOT_SUFFIXES, plot_result
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.telemetry.redaction import redact

app = typer.Typer(
    name="circumplex",
    help="Valence and arousal for every frame of a clip, from face and voice.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(keys.app)
app.add_typer(models.app)


@app.command()
def gateway() -> None:
    """Serve REST, gRPC, streams, health and metrics."""
    from service.wiring import start_gateway  # not by `up`, which starts others and stays small

    with exit_on_error():
        asyncio.run(start_gateway(load_settings()))


@app.command()
def worker() -> None:
    """Work on queued jobs until SIGTERM, then finish or hand back what is under way."""
    from service.wiring import start_worker  # not by `up`, as above

    with exit_on_error():
        asyncio.run(start_worker(load_settings()))


@app.command()
def up() -> None:
    """Run Redis, Triton, a worker and the gateway here until Ctrl-C."""
    from service.embedded.stack import run_stack  # an extra that the image leaves out

    stop_on_signals()
    settings = load_settings()
    with exit_on_error():  # before any process is started
        admitted = "holders of API keys" if requires_keys(settings) else "everybody"
    with (
        exit_on_error(),
        suppress(KeyboardInterrupt),
        run_stack(settings, on_start=lambda part: print_status(f"starting {part} ...")) as stack,
    ):
        table = Table.grid(padding=(0, 2))
        table.add_row("access", admitted)
        for name, address in stack.addresses.items():
            table.add_row(name, address)
        Console().print("Circumplex is up; Ctrl-C stops it.", table, sep="\n")
        try:
            stack.wait()
        finally:
            print_status("stopping ...")


@app.command()
def annotate(
    clip: Annotated[Path, typer.Argument(help="The video.", exists=True, dir_okay=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File of the results: .csv or .json.")
    ],
    plot: Annotated[
        Path | None, typer.Option(help="Plot valence and arousal over time to this file.")
    ] = None,
    faces: Annotated[FaceSelection, typer.Option(help="The most present face, or all.")] = (
        FaceSelection.PRIMARY
    ),
    video_stream: Annotated[
        int | None, typer.Option(min=0, help="Index of the video stream, as ffprobe counts.")
    ] = None,
    audio_stream: Annotated[
        int | None, typer.Option(min=0, help="Index of the audio stream, as ffprobe counts.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="NAME or NAME@VERSION; else the settings' default.")
    ] = None,
) -> None:
    """Annotate one clip without a gateway.

    Uses the Triton at CIRCUMPLEX_TRITON_URL; if none answers there, a private one is started.
    """
    from service.embedded.stack import open_triton  # an extra that the image leaves out

    stop_on_signals()  # no half file is left
    options = AnalysisOptions(faces=faces, video_stream=video_stream, audio_stream=audio_stream)
    with exit_on_error():
        find_format(output.suffix)
        _check_plot_suffix(plot)
        configured = load_settings()
        chosen = model or configured.chosen_model
        with open_output(output) as file, open_output(plot) if plot else nullcontext() as picture:
            with (
                open_triton(configured.serving_only(chosen), on_start=print_status) as settings,
                _progress_bar() as on_progress,
            ):
                result = asyncio.run(_annotate(clip, options, chosen, settings, on_progress))
            file.writelines(find_format(output.suffix).write(result))
            if plot is not None and picture is not None:
                _write_plot(result, picture, plot.suffix)
        flags = f" ({', '.join(result.flags)})" if result.flags else ""
        print_status(f"{len(result.frames)} frames{flags} in {output}")
        print_status(describe_model(result.manifest, result.modalities_used))


@app.command()
def settings() -> None:
    """Print every setting as a line of an env file, with its description above it.

    Passwords in URLs are printed as ***.
    """
    with exit_on_error():
        current = load_settings()
        for name, field in Settings.model_fields.items():
            value, default = getattr(current, name), field.default
            changed = "" if value == default else f" (default: {_format_value(default)})"
            typer.echo(f"# {field.description}{changed}")
            typer.echo(f"CIRCUMPLEX_{name.upper()}={_format_value(value)}")


def _format_value(value: object) -> str:
    return "" if value is None else redact(str(value))


async def _annotate(
    clip: Path,
    options: AnalysisOptions,
    model: str,
    settings: Settings,
    on_progress: Callable[[AnalysisProgress], None],
) -> AnalysisResult:
    """Analyse a clip as a job would. Raises: ClipError, ServiceError."""
    from service.wiring import open_clip_analyzer  # not by `up`, as above

    async with open_clip_analyzer(settings, Metrics(CollectorRegistry())) as analyzer:
        estimator = await analyzer.estimators.open(analyzer.estimators.choose(model))
        builder = ResultBuilder(estimator.manifest, estimator.provenance, options.faces)
        async with aclosing(analyzer.analyse(clip, options, estimator)) as events:
            async for event in events:
                if isinstance(event, AnalysisProgress):
                    on_progress(event)
                builder.add(event)
        await analyzer.estimators.confirm(estimator)
        return builder.build()


def _check_plot_suffix(path: Path | None) -> None:
    """Raise ResultFormatUnknown if no plot can be written to a file of this name."""
    if path is not None and path.suffix.lower() not in PLOT_SUFFIXES:
        offered = ", ".join(PLOT_SUFFIXES)
        raise ResultFormatUnknown(f"plots are drawn as {offered}, not as {path.suffix!r}")


def _write_plot(result: AnalysisResult, file: BinaryIO, suffix: str) -> None:
    """Plot a result in the format of a file suffix."""
    document = json.loads(b"".join(JSON.write(result)))
    plot_result(document, file, image_format=suffix.lower().removeprefix("."))


@contextmanager
def _progress_bar() -> Generator[Callable[[AnalysisProgress], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=STDERR) as bar:
        task = bar.add_task("annotating", total=None)

        def on_progress(progress: AnalysisProgress) -> None:
            total = None if progress.expected is None else max(progress.expected, progress.done)
            bar.update(task, completed=progress.done, total=total)

        yield on_progress
