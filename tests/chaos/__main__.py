"""Command of `make chaos`: jobs in a real stack while its processes are killed at random."""

from __future__ import annotations

import json
import signal
import tempfile
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from service.settings import YARDSTICK, Settings
from tests.chaos.clips import make_clips
from tests.chaos.long_jobs import make_rounds, run_long_jobs
from tests.chaos.report import collect_versions, has_passed, make_table
from tests.chaos.run import ChaosPlan, Log, run_chaos, running_backends
from tests.chaos.supervisor import RESTART_DELAY_SECONDS
from tests.fuzz.leaks import find_leaked_shared_memory, list_shared_memory

OUT_DIR: Final = Path("out")


def chaos(
    jobs: Annotated[int, typer.Option(min=1, help="Number of jobs.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of kills and order of clips.")] = 1,
    kill_seconds: Annotated[
        float, typer.Option(min=0.2, help="Mean interval between kills.")
    ] = 3.0,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 3,
    gateways: Annotated[int, typer.Option(min=1, help="Gateway processes.")] = 2,
    at_once: Annotated[int, typer.Option(min=1, help="Maximum of open jobs.")] = 48,
    redis_seconds: Annotated[
        float, typer.Option(min=0, help="Delay before a killed Redis is restarted.")
    ] = RESTART_DELAY_SECONDS,
    long: Annotated[bool, typer.Option(help="Also run long jobs with a short lease.")] = True,
    keep: Annotated[Path | None, typer.Option(help="Folder to keep state and logs in.")] = None,
) -> None:
    """Run jobs while processes are killed; write out/chaos.json. Exits with 1 on a violation."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    console = Console(highlight=False, soft_wrap=True)
    plan = ChaosPlan(
        jobs=jobs,
        seed=seed,
        kill_seconds=kill_seconds,
        workers=workers,
        gateways=gateways,
        at_once=at_once,
    )
    with tempfile.TemporaryDirectory(prefix="circumplex-chaos-") as name:
        summary = _run(plan, keep or Path(name), redis_seconds, console.print, has_long_jobs=long)
    OUT_DIR.mkdir(exist_ok=True)
    path = OUT_DIR / "chaos.json"
    path.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")
    console.print(make_table(summary))
    console.print(f"Written: {path}")
    if not has_passed(summary):
        raise typer.Exit(1)


def _run(
    plan: ChaosPlan, folder: Path, redis_seconds: float, log: Log, *, has_long_jobs: bool
) -> dict[str, Any]:
    memory = list_shared_memory()
    settings = Settings().serving_only(YARDSTICK)
    backends = running_backends(settings, folder, log, redis_away_seconds=redis_seconds)
    with backends as (specs, supervisor):
        summary = run_chaos(plan, make_clips(), specs, supervisor, log)
        if has_long_jobs:
            summary["long_jobs"] = run_long_jobs(make_rounds(folder), specs, log)
    summary["settings"] |= {"redis_away_seconds": redis_seconds}
    return summary | {
        "shared_memory_left": find_leaked_shared_memory(memory),
        "versions": collect_versions(),
    }


if __name__ == "__main__":
    typer.run(chaos)
