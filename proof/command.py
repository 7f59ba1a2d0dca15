"""The command behind `make eval`."""

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

from proof.clips import Cast
from proof.errors import ProofError
from proof.report import build_report, failures, show_report
from proof.steps import Steps
from service.errors import CircumplexError
from service.settings import Settings
from training.data.errors import DatasetError
from training.data.files import replace_text
from training.synthetic.rates import RATES

DEFAULT_RATES: Final = ("24", "30", "60", "variable")
_errors: Final = Console(stderr=True)


def prove(
    actors: Annotated[int, typer.Option(min=1, help="How many people.")] = 24,
    seconds: Annotated[float, typer.Option(min=1.0, help="Of each clip.")] = 12.0,
    seed: Annotated[int, typer.Option(min=0, help="One that no training used.")] = 1_000,
    rate: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(RATES)}; may be given several times.")
    ] = None,
    cameras: Annotated[int, typer.Option(min=1, help="Rates of each actor, in turns.")] = 2,
    url: Annotated[
        str | None, typer.Option(help="A service that is running; else one is started.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="The run that is exported; else weights/<preset>.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where eval.json goes.")] = Path("out"),
) -> None:
    """Score held-out actors through the whole service, beside the same frames offline."""
    rates = tuple(dict.fromkeys(rate or DEFAULT_RATES))
    unknown = sorted(set(rates) - set(RATES))
    if unknown:
        raise typer.BadParameter(f"no such rate: {', '.join(unknown)}", param_hint="--rate")
    cast = Cast(seed=seed, actors=actors, seconds=seconds, rates=rates, cameras=cameras)
    console = Console()
    with _failing_clearly():
        steps = Steps(cast, Settings(), out / "eval", console)
        record = steps.read_record(run)
        report = build_report(steps.match(url), record, steps.facts())
    replace_text(out / "eval.json", json.dumps(report, indent=2, allow_nan=False) + "\n")
    show_report(report, console)
    console.print(f"Written: {out / 'eval.json'}", highlight=False)
    failed = failures(report)
    for sentence in failed:
        _say_error(f"Does not hold: {sentence}")
    if failed:
        raise typer.Exit(1)
    console.print("Everything that is asked holds.", style="green")


@contextmanager
def _failing_clearly() -> Generator[None]:
    """A plain sentence instead of a traceback; 2 for a proof that could not be made."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except (CircumplexError, ClientError, DatasetError, ProofError) as error:
        _say_error(f"No proof: {error}")
        raise typer.Exit(2) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _say_error(line: str) -> None:
    _errors.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
