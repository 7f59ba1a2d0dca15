"""`make fuzz`: hostile media into the worker's own path, and some of it through the service."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from service.embedded.stack import run_stack, stand_apart
from service.settings import Settings
from tests.fuzz.inputs import make_input
from tests.fuzz.leaks import list_shared_memory, shared_memory_left
from tests.fuzz.report import VIOLATIONS, Findings, is_well
from tests.fuzz.run import HANG_SECONDS, LIMITS, Plan, Run
from tests.fuzz.seeds import make_seeds
from tests.fuzz.stack import Service

OUT: Final = Path("out")


def fuzz(
    inputs: Annotated[int, typer.Option(min=1, help="How many.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the run.")] = 1,
    first: Annotated[int, typer.Option(min=0, help="Number of the first input.")] = 0,
    every: Annotated[
        int, typer.Option(min=0, help="One in so many goes through the service too; 0: none.")
    ] = 50,
    at_once: Annotated[int, typer.Option(min=1, help="Inputs under way together.")] = 4,
    show: Annotated[int | None, typer.Option(help="Write this input alone, feed nothing.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where --show writes.")] = None,
) -> None:
    """Feed inputs; write out/fuzz.json and, in out/fuzz/, what is worth a look."""
    console = Console(highlight=False, soft_wrap=True)
    plan = Plan(
        seeds=make_seeds(), run_seed=seed, inputs=inputs, first=first, every=every, at_once=at_once
    )
    if show is not None:
        _show(plan, show, out, console)
        return
    summary = _feed(plan, OUT / "fuzz", console)
    path = OUT / "fuzz.json"
    path.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")
    counts = ", ".join(f"{summary[name]} {name}" for name in VIOLATIONS)
    crashes = summary["decoder_crashes"]
    console.print(f"{summary['inputs']} inputs: {counts}; {crashes} decoder crashes, each typed")
    console.print(f"Written: {path}")
    if not is_well(summary):
        raise typer.Exit(1)


def _show(plan: Plan, number: int, out: Path | None, console: Console) -> None:
    shown = make_input(plan.seeds, plan.run_seed, number)
    path = out or OUT / "fuzz" / shown.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(shown.data)
    console.print(f"{path}: {', '.join(shown.steps)}; submitted with {shown.choices}")


def _feed(plan: Plan, folder: Path, console: Console) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    findings = Findings(folder=folder)
    settings = Settings(**LIMITS)
    shared_memory = list_shared_memory()
    with _room() as room:
        with ExitStack() as opened:
            stack = opened.enter_context(_stack(settings, room / "stack")) if plan.every else None
            serve = stack and Service.of(stack, hang_seconds=HANG_SECONDS)
            service = opened.enter_context(serve) if serve else None
            scratch = room / "inputs"
            scratch.mkdir()
            run = Run(
                plan,
                settings,
                findings,
                scratch=scratch,
                stack=stack,
                service=service,
                say=console.print,
            )
            summary = asyncio.run(run.feed())
        left = shared_memory_left(shared_memory)
        left += [f"temporary file: {path.name}" for path in (room / "temporary").iterdir()]
    return summary | {"leaks": summary["leaks"] + len(left), "leaked": summary["leaked"] + left}


def _stack(settings: Settings, folder: Path) -> Any:
    return run_stack(stand_apart(settings, folder))


@contextmanager
def _room() -> Generator[Path]:
    """A folder for the run; what any of its processes puts into TMPDIR is seen in it."""
    with tempfile.TemporaryDirectory(prefix="circumplex-fuzz-") as folder:
        temporary = Path(folder) / "temporary"
        temporary.mkdir()
        os.environ["TMPDIR"] = str(temporary)
        tempfile.tempdir = None  # read the variable again
        try:
            yield Path(folder)
        finally:
            del os.environ["TMPDIR"]
            tempfile.tempdir = None


if __name__ == "__main__":
    typer.run(fuzz)
