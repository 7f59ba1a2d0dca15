"""The main job, once, on this machine: a clip through the whole service, and what comes out of it.

python -m deploy.demo
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from circumplex_client import Client, ClientError, Job
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table

from service.domain.signatures import TARGETS
from service.embedded.stack import run_stack, stand_apart
from service.errors import CircumplexError
from service.results.plot import plot_result
from service.results.sparkline import sparkline
from service.results.tracks import Truth
from service.settings import Settings
from training.metrics import concordance
from training.synthetic.clip import demo_performance, render_demo_clip

OUT: Final = Path("out")
CLIP: Final = OUT / "demo.mp4"
ACTOR: Final = 100_000_481
"""Of seed 1000, which teaches nobody; this one goes through all four quadrants."""
WRITTEN: Final = {
    "demo.mp4": "the clip",
    "demo.json": "the result",
    "demo.csv": "the result, one row a frame",
    "demo.png": "the result as a picture, beside the truth",
}
ROWS: Final = 11
SPARKLINE_COLUMNS: Final = 64
_console: Final = Console()


def main() -> None:
    """Render a clip, have a whole stack annotate it, stop the stack, show and write the result."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()
    OUT.mkdir(exist_ok=True)
    _say(f"Drawing a face and a voice: {CLIP} ...")
    render_demo_clip(CLIP, seed=ACTOR)
    settings = Settings()
    apart = stand_apart(settings, settings.runtime_dir / "demo")
    shutil.rmtree(apart.state_dir, ignore_errors=True)
    with run_stack(apart, on_start=lambda part: _say(f"Starting {part} ...")) as stack:
        with Client(f"http://{stack.settings.host}:{stack.settings.http_port}") as client:
            job_id = _annotate(client)
            client.save(job_id, OUT / "demo.json", format="json")
            client.save(job_id, OUT / "demo.csv", format="csv")
        _say("Stopping everything ...")
    result = json.loads((OUT / "demo.json").read_bytes())
    truth = _truth(result)
    plot_result(result, OUT / "demo.png", truth=truth)
    _show(result)
    _score(result, truth)
    _say(f"\nDone in {time.monotonic() - started:.0f} s. Written:")
    for name, content in WRITTEN.items():
        _say(f"  {OUT / name!s:<14} {content}")


def _annotate(client: Client) -> str:
    """POST the clip, show the job's progress, return the job's id."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TextColumn("frames"), console=_console) as bar:
        job = client.submit(CLIP)
        task = bar.add_task(f"POST /v1/jobs → {job.id[:8]}", total=None)
        client.wait(job.id, on_progress=lambda now: _update(bar, task, now))
    return job.id


def _update(bar: Progress, task: TaskID, job: Job) -> None:
    bar.update(task, completed=job.progress.frames_done, total=job.progress.frames_total)


def _show(result: dict[str, Any]) -> None:
    frames = result["frames"]
    table = Table("frame", "time, s", "valence", "arousal", "± valence", "± arousal", "face")
    last = len(frames["index"]) - 1
    for row in sorted({round(k * last / (ROWS - 1)) for k in range(ROWS)}):
        numbers = ("valence_smoothed", "arousal_smoothed", "valence_std", "arousal_std")
        cells = (_number(frames[name][row]) for name in numbers)
        face = "yes" if frames["observed"][row] else "no"
        table.add_row(str(frames["index"][row]), f"{frames['time'][row]:.3f}", *cells, face)
    _console.print(table)
    for name in ("valence", "arousal"):
        line = sparkline(frames[f"{name}_smoothed"], SPARKLINE_COLUMNS)
        _console.print(f"{name} {line}", highlight=False)
    if result["provenance"]["training"] == "untrained":
        _console.print("The weights are untrained: these numbers mean nothing yet.", style="yellow")


def _truth(result: dict[str, Any]) -> Truth:
    """What the clip's actor feels in each frame of the result."""
    felt = demo_performance(seed=ACTOR).truth(np.array(result["frames"]["time"], np.float64))
    return {name: felt[:, place].tolist() for place, name in enumerate(TARGETS)}


def _score(result: dict[str, Any], truth: Truth) -> None:
    """Print how well the raw estimates agree with the truth."""
    known = [value is not None for value in result["frames"]["valence"]]
    for name in TARGETS:
        estimate, felt = (
            np.array([value for value, is_known in zip(column, known, strict=True) if is_known])
            for column in (result["frames"][name], truth[name])
        )
        agreement = f"{concordance(estimate, felt):.3f}" if any(known) else "none"
        _say(f"CCC of {name} with the truth, {sum(known)} frames: {agreement}")


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:+.3f}"


def _say(line: str) -> None:
    _console.print(line, markup=False, highlight=False)


if __name__ == "__main__":
    try:
        main()
    except (CircumplexError, ClientError) as error:
        sys.exit(f"The demo failed: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
