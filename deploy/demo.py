"""Demo: annotate a drawn clip, whose truth is known, with the whole stack on this machine.

    python -m deploy.demo

The clip is annotated by the yardstick, which has learnt from such drawings. Clips of people are for
the default model, as the last lines say.
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

from service.domain.estimator import DOMAIN_TEXTS
from service.domain.model_signatures import TARGETS
from service.embedded.stack import isolate_settings, run_stack
from service.errors import CircumplexError
from service.results.plot import GroundTruth, draw_sparkline, plot_result
from service.settings import YARDSTICK, Settings
from training.metrics import concordance_correlation
from training.synthetic.clip import create_demo_performance, render_demo_clip

OUT: Final = Path("out")
CLIP: Final = OUT / "demo.mp4"
ACTOR_SEED: Final = 100_000_481
"""An actor of seed 1000, used in no training; the performance visits all four quadrants."""
OWN_CLIP_COMMAND: Final = ".venv/bin/circumplex annotate my.mp4 -o my.csv --plot my.png"
OUTPUT_FILES: Final = {
    "demo.mp4": "the clip",
    "demo.json": "the result",
    "demo.csv": "the result, one row a frame",
    "demo.png": "the result as a plot, with the truth",
}
TABLE_ROWS: Final = 11
SPARKLINE_COLUMNS: Final = 64
_console: Final = Console()


def main() -> None:
    """Render a clip, annotate it with an embedded stack, print and write the result."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()
    OUT.mkdir(exist_ok=True)
    _print_line(f"Drawing a face and a voice: {CLIP} ...")
    render_demo_clip(CLIP, seed=ACTOR_SEED)
    settings = Settings().serving_only(YARDSTICK)
    isolated_settings = isolate_settings(settings, settings.runtime_dir / "demo")
    shutil.rmtree(isolated_settings.state_dir, ignore_errors=True)
    with run_stack(
        isolated_settings, on_start=lambda part: _print_line(f"Starting {part} ...")
    ) as stack:
        with Client(f"http://{stack.settings.host}:{stack.settings.http_port}") as client:
            job_id = _annotate(client)
            client.save(job_id, OUT / "demo.json", format="json")
            client.save(job_id, OUT / "demo.csv", format="csv")
        _print_line("Stopping everything ...")
    result = json.loads((OUT / "demo.json").read_bytes())
    truth = _compute_truth(result)
    plot_result(result, OUT / "demo.png", truth=truth)
    _show_table(result)
    _print_ccc(result, truth)
    _print_line(f"\nDone in {time.monotonic() - started:.0f} s. Written:")
    for name, content in OUTPUT_FILES.items():
        _print_line(f"  {OUT / name!s:<14} {content}")
    _print_model(result["model"])


def _annotate(client: Client) -> str:
    """Submit the clip, show the job's progress, return the job's id."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TextColumn("frames"), console=_console) as bar:
        job = client.submit(CLIP, model=YARDSTICK)
        task = bar.add_task(f"POST /v1/jobs → {job.id[:8]}", total=None)
        client.wait(job.id, on_progress=lambda now: _update_progress(bar, task, now))
    return job.id


def _update_progress(bar: Progress, task: TaskID, job: Job) -> None:
    bar.update(task, completed=job.progress.frames_done, total=job.progress.frames_total)


def _show_table(result: dict[str, Any]) -> None:
    frames = result["frames"]
    table = Table("frame", "time, s", "valence", "arousal", "± valence", "± arousal", "face")
    last = len(frames["index"]) - 1
    for row in sorted({round(k * last / (TABLE_ROWS - 1)) for k in range(TABLE_ROWS)}):
        numbers = ("valence_smoothed", "arousal_smoothed", "valence_std", "arousal_std")
        cells = (_format_number(frames[name][row]) for name in numbers)
        face = "yes" if frames["observed"][row] else "no"
        table.add_row(str(frames["index"][row]), f"{frames['time'][row]:.3f}", *cells, face)
    _console.print(table)
    for name in ("valence", "arousal"):
        line = draw_sparkline(frames[f"{name}_smoothed"], SPARKLINE_COLUMNS)
        _console.print(f"{name} {line}", highlight=False)


def _print_model(model: dict[str, Any]) -> None:
    """Print the model and its caveats, and how to annotate a clip of one's own."""
    caveats = f": {'; '.join(model['caveats'])}" if model["caveats"] else ""
    domain = DOMAIN_TEXTS[model["domain"]]
    _console.print(
        f"\nModel {model['id']}, {domain}{caveats}.",
        style="yellow", markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
    default = Settings().chosen_model
    _print_line(f"A clip of your own, by the model {default}:")
    _print_line(f"  {OWN_CLIP_COMMAND}")


def _compute_truth(result: dict[str, Any]) -> GroundTruth:
    """Return the actor's true valence and arousal at each frame of the result."""
    targets = create_demo_performance(seed=ACTOR_SEED).truth_at(
        np.array(result["frames"]["time"], np.float64)
    )
    return {name: targets[:, place].tolist() for place, name in enumerate(TARGETS)}


def _print_ccc(result: dict[str, Any], truth: GroundTruth) -> None:
    """Print the concordance correlation of the raw estimates with the truth."""
    known = [value is not None for value in result["frames"]["valence"]]
    for name in TARGETS:
        estimate, target = (
            np.array([value for value, is_known in zip(column, known, strict=True) if is_known])
            for column in (result["frames"][name], truth[name])
        )
        agreement = f"{concordance_correlation(estimate, target):.3f}" if any(known) else "none"
        _print_line(f"CCC of {name} with the truth, {sum(known)} frames: {agreement}")


def _format_number(value: float | None) -> str:
    return "none" if value is None else f"{value:+.3f}"


def _print_line(line: str) -> None:
    _console.print(line, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    try:
        main()
    except (CircumplexError, ClientError) as error:
        sys.exit(f"The demo failed: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
