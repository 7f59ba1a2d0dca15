"""Command `make eval`."""

from __future__ import annotations

import json
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from circumplex_client import ClientError
from rich.console import Console

from e2e_eval.clips import ClipSelection
from e2e_eval.errors import EvaluationError
from e2e_eval.report import build_report, list_failures, list_unjudged, show_report
from e2e_eval.run import EvaluationPipeline
from e2e_eval.thresholds import MIN_JUDGED_PEOPLE
from service.errors import CircumplexError
from service.settings import YARDSTICK, Settings
from training.data.errors import DatasetError
from training.data.files import replace_text
from training.synthetic.frame_rates import RATES

DEFAULT_RATES: Final = ("24", "30", "60", "variable")
_error_console: Final = Console(stderr=True)


def run_evaluation(
    actors: Annotated[int, typer.Option(min=1, help="Number of actors.")] = 24,
    seconds: Annotated[float, typer.Option(min=1.0, help="Length of each clip.")] = 12.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed that no training has used.")] = 1_000,
    rate: Annotated[list[str] | None, typer.Option(help=f"{', '.join(RATES)}; repeatable.")] = None,
    cameras: Annotated[
        int, typer.Option(min=1, help="Frame rates of each actor, in rotation.")
    ] = 2,
    url: Annotated[
        str | None, typer.Option(help="Running service; by default one is started.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Exported training run; by default weights/<preset>.")
    ] = None,
    model: Annotated[str, typer.Option(help="NAME or NAME@VERSION of the model.")] = YARDSTICK,
    out: Annotated[Path, typer.Option(help="Folder of eval.json.")] = Path("out"),
) -> None:
    """Evaluate held-out actors through the whole service, and the same frames offline."""
    rates = tuple(dict.fromkeys(rate or DEFAULT_RATES))
    unknown = sorted(set(rates) - set(RATES))
    if unknown:
        raise typer.BadParameter(f"no such rate: {', '.join(unknown)}", param_hint="--rate")
    selection = ClipSelection(
        seed=seed, actors=actors, seconds=seconds, rates=rates, rates_per_actor=cameras
    )
    console = Console()
    with _errors_reported():
        pipeline = EvaluationPipeline(
            selection, Settings().serving_only(model), out / "eval", console
        )
        record = pipeline.read_training_record(run)
        report = build_report(pipeline.match_estimates(url), record, pipeline.describe())
    replace_text(out / "eval.json", json.dumps(report, indent=2, allow_nan=False) + "\n")
    show_report(report, console)
    console.print(f"Written: {out / 'eval.json'}", highlight=False)
    unjudged = ", ".join(list_unjudged(report))
    if unjudged:
        line = f"Not judged, fewer than {MIN_JUDGED_PEOPLE} people: {unjudged}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    failures = list_failures(report)
    for sentence in failures:
        _print_error(f"Does not hold: {sentence}")
    if failures:
        raise typer.Exit(1)
    console.print("All targets that are judged hold.", style="green")


@contextmanager
def _errors_reported() -> Generator[None]:
    """Print errors as one line; exit status 2 where the evaluation could not be completed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except (CircumplexError, ClientError, DatasetError, EvaluationError) as error:
        _print_error(f"Evaluation failed: {error}")
        raise typer.Exit(2) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _print_error(line: str) -> None:
    _error_console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
