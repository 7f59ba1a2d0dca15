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

from service.embedded.stack import isolate_settings, run_stack
from service.settings import Settings
from tests.fuzz.inputs import make_input
from tests.fuzz.leaks import find_leaked_shared_memory, list_shared_memory
from tests.fuzz.report import VIOLATIONS, FuzzFindings, has_passed
from tests.fuzz.run import FUZZ_SETTINGS, HANG_TIMEOUT_SECONDS, FuzzPlan, FuzzRun
from tests.fuzz.seeds import make_seeds
from tests.fuzz.service_client import CheckedServiceClient

OUT_DIR: Final = Path("out")


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
    plan = FuzzPlan(
        seeds=make_seeds(),
        run_seed=seed,
        inputs=inputs,
        first_number=first,
        service_every=every,
        at_once=at_once,
    )
    if show is not None:
        _write_one_input(plan, show, out, console)
        return
    summary = _run_fuzz(plan, OUT_DIR / "fuzz", console)
    path = OUT_DIR / "fuzz.json"
    path.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")
    counts = ", ".join(f"{summary[name]} {name}" for name in VIOLATIONS)
    crashes = summary["decoder_crashes"]
    console.print(f"{summary['inputs']} inputs: {counts}; {crashes} decoder crashes, each typed")
    console.print(f"Written: {path}")
    if not has_passed(summary):
        raise typer.Exit(1)


def _write_one_input(plan: FuzzPlan, number: int, out: Path | None, console: Console) -> None:
    shown = make_input(plan.seeds, plan.run_seed, number)
    path = out or OUT_DIR / "fuzz" / shown.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(shown.data)
    console.print(f"{path}: {', '.join(shown.steps)}; submitted with {shown.options}")


def _run_fuzz(plan: FuzzPlan, folder: Path, console: Console) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    findings = FuzzFindings(folder=folder)
    settings = Settings(**FUZZ_SETTINGS)
    shared_memory = list_shared_memory()
    with _run_folder() as room:
        with ExitStack() as opened:
            stack = (
                opened.enter_context(_running_stack(settings, room / "stack"))
                if plan.service_every
                else None
            )
            serve = stack and CheckedServiceClient.connect(stack, hang_seconds=HANG_TIMEOUT_SECONDS)
            service = opened.enter_context(serve) if serve else None
            scratch = room / "inputs"
            scratch.mkdir()
            run = FuzzRun(
                plan,
                settings,
                findings,
                scratch=scratch,
                stack=stack,
                service=service,
                log=console.print,
            )
            summary = asyncio.run(run.run())
        left = find_leaked_shared_memory(shared_memory)
        left += [f"temporary file: {path.name}" for path in (room / "temporary").iterdir()]
    return summary | {"leaks": summary["leaks"] + len(left), "leaked": summary["leaked"] + left}


def _running_stack(settings: Settings, folder: Path) -> Any:
    return run_stack(isolate_settings(settings, folder))


@contextmanager
def _run_folder() -> Generator[Path]:
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
