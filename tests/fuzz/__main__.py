"""Command `make fuzz`: damaged media for the worker's pipeline, and a share for the service."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from service.embedded.stack import Stack, isolate_settings, run_stack
from service.settings import YARDSTICK, Settings
from tests.fuzz.inputs import make_input
from tests.fuzz.leaks import find_leaked_shared_memory, list_shared_memory
from tests.fuzz.report import VIOLATIONS, FuzzFindings, has_passed
from tests.fuzz.run import FUZZ_SETTINGS, HANG_TIMEOUT_SECONDS, FuzzPlan, FuzzRun
from tests.fuzz.seeds import make_seeds
from tests.fuzz.service_client import CheckedServiceClient

OUT_DIR: Final = Path("out")


def fuzz(
    inputs: Annotated[int, typer.Option(min=1, help="Number of inputs.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the run.")] = 1,
    first: Annotated[int, typer.Option(min=0, help="Number of the first input.")] = 0,
    every: Annotated[
        int, typer.Option(min=0, help="Every n-th input goes through the service too; 0: none.")
    ] = 50,
    at_once: Annotated[int, typer.Option(min=1, help="Inputs in flight.")] = 4,
    show: Annotated[int | None, typer.Option(help="Write this input to a file and exit.")] = None,
    out: Annotated[Path | None, typer.Option(help="File that --show writes.")] = None,
) -> None:
    """Feed inputs; write out/fuzz.json, and suspicious inputs to out/fuzz/."""
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
    fuzz_input = make_input(plan.seeds, plan.run_seed, number)
    path = out or OUT_DIR / "fuzz" / fuzz_input.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(fuzz_input.data)
    console.print(f"{path}: {', '.join(fuzz_input.steps)}; submitted with {fuzz_input.options}")


def _run_fuzz(plan: FuzzPlan, folder: Path, console: Console) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    findings = FuzzFindings(folder=folder)
    settings = Settings(**FUZZ_SETTINGS).serving_only(YARDSTICK)
    shared_memory = list_shared_memory()
    with _run_folder() as run_dir:
        with ExitStack() as resources:
            stack = (
                resources.enter_context(_running_stack(settings, run_dir / "stack"))
                if plan.service_every
                else None
            )
            connection = stack and CheckedServiceClient.connect(
                stack, hang_seconds=HANG_TIMEOUT_SECONDS
            )
            service = resources.enter_context(connection) if connection else None
            scratch = run_dir / "inputs"
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
        remaining = find_leaked_shared_memory(shared_memory)
        remaining += [f"temporary file: {path.name}" for path in (run_dir / "temporary").iterdir()]
    return summary | {
        "leaks": summary["leaks"] + len(remaining),
        "leaked": summary["leaked"] + remaining,
    }


def _running_stack(settings: Settings, folder: Path) -> AbstractContextManager[Stack]:
    return run_stack(isolate_settings(settings, folder))


@contextmanager
def _run_folder() -> Generator[Path]:
    """Yield a folder for the run that also is the TMPDIR of its processes."""
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
