"""`make chaos`: short jobs through the real stack while its processes are killed at random."""

from __future__ import annotations

import json
import signal
import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from service.settings import Settings
from tests.chaos.long_jobs import make_rounds, run_long_jobs
from tests.chaos.report import collect_versions, has_passed, make_table
from tests.chaos.run import ChaosPlan, run_chaos, running_backends
from tests.chaos.short_clips import make_clips
from tests.chaos.supervisor import RESTART_DELAY_SECONDS
from tests.fuzz.leaks import find_leaked_shared_memory, list_shared_memory

OUT_DIR: Final = Path("out")


def chaos(
    jobs: Annotated[int, typer.Option(min=1, help="How many.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of who is killed when, and the order.")] = 1,
    kill_seconds: Annotated[
        float, typer.Option(min=0.2, help="From one kill to the next, on average.")
    ] = 3.0,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 3,
    gateways: Annotated[int, typer.Option(min=1, help="Gateway processes.")] = 2,
    at_once: Annotated[int, typer.Option(min=1, help="Jobs open at a time.")] = 48,
    redis_seconds: Annotated[
        float, typer.Option(min=0, help="For how long a killed Redis is away.")
    ] = RESTART_DELAY_SECONDS,
    long: Annotated[bool, typer.Option(help="Long jobs with a short lease, too.")] = True,
    keep: Annotated[Path | None, typer.Option(help="Where state and logs are to stay.")] = None,
) -> None:
    """Kill and count; write out/chaos.json. Ends with 1 where the promise was not kept."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(highlight=False, soft_wrap=True)
    plan = ChaosPlan(
        jobs=jobs,
        seed=seed,
        kill_seconds=kill_seconds,
        workers=workers,
        gateways=gateways,
        at_once=at_once,
    )
    memory = list_shared_memory()
    with tempfile.TemporaryDirectory(prefix="circumplex-chaos-") as name:
        folder = Path(name) if keep is None else keep
        with running_backends(
            Settings(), folder, console.print, redis_away_seconds=redis_seconds
        ) as (
            ground,
            below,
        ):
            summary = run_chaos(plan, make_clips(), ground, below, console.print)
            if long:
                rounds = make_rounds(folder)
                summary |= {"long_jobs": run_long_jobs(rounds, ground, console.print)}
    summary["settings"] |= {"redis_away_seconds": redis_seconds}
    summary |= {
        "shared_memory_left": find_leaked_shared_memory(memory),
        "versions": collect_versions(),
    }
    OUT_DIR.mkdir(exist_ok=True)
    path = OUT_DIR / "chaos.json"
    path.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")
    console.print(make_table(summary))
    console.print(f"Written: {path}")
    if not has_passed(summary):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(chaos)
