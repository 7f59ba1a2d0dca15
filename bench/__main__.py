"""Command `make bench`: what a frame costs, where, and how near the service comes to its ceilings.

Each part is written to out/bench.json once it is measured; a part that is measured alone replaces
that of before, and uses the clips that are there. `python -m bench.page` makes the tables and
pictures of docs/explanation/performance.md from that file.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import torch
import typer
from rich.console import Console

from bench.clips import HEIGHT, LONG_SECONDS, RATE_HZ, WIDTH, BenchClips, render_bench_clips
from bench.processes import available_cores
from bench.service_load import measure_other_model, measure_service
from bench.stage_costs import measure_limits, measure_stages
from bench.summary import summarize
from bench.tables import show_report
from bench.worker_scale import measure_scale
from service.pipeline.estimators import read_default_manifest
from service.settings import YARDSTICK, Settings

OUT: Final = Path("out")
REPORT: Final = OUT / "bench.json"
OTHER_MODEL: Final = "expression"


class Part(StrEnum):
    """Parts of a report."""

    PROCESSOR = "processor"
    STAGES = "stages"
    SERVICE = "service"
    EXPRESSION = "expression"
    SCALE = "scale"


def bench(
    part: Annotated[
        list[Part] | None, typer.Option(help="A part to measure; repeatable; default: all.")
    ] = None,
) -> None:
    """Measure, print and write out/bench.json."""
    console = Console(highlight=False)
    settings = Settings().serving_only(YARDSTICK)
    OUT.mkdir(exist_ok=True)
    report = _read_report() if part else {}
    report |= _describe_run(settings)
    with console.status("Drawing the clips ..."):
        clips = render_bench_clips(OUT, reuse=bool(part))
    measurements = _list_measurements(clips, settings)
    for name in part or list(Part):
        began = time.monotonic()
        with console.status(f"Measuring: {name} ..."):
            report[name] = measurements[name]()
        report["summary"] = summarize(report)
        REPORT.write_text(json.dumps(report, indent=2) + "\n")
        console.print(f"Measured: {name} ({time.monotonic() - began:.0f} s)")
    show_report(report, console)
    console.print(f"Written: {REPORT}")


def _list_measurements(
    clips: BenchClips, settings: Settings
) -> Mapping[Part, Callable[[], dict[str, Any]]]:
    return {
        Part.PROCESSOR: measure_limits,
        Part.STAGES: lambda: measure_stages(clips, settings),
        Part.SERVICE: lambda: measure_service(clips, settings),
        Part.EXPRESSION: lambda: measure_other_model(clips, Settings().serving_only(OTHER_MODEL)),
        Part.SCALE: lambda: measure_scale(clips, settings),
    }


def _read_report() -> dict[str, Any]:
    return json.loads(REPORT.read_text()) if REPORT.exists() else {}


def _describe_run(settings: Settings) -> dict[str, Any]:
    return {
        "model": str(read_default_manifest(settings).id),
        "clip": {"width": WIDTH, "height": HEIGHT, "fps": RATE_HZ, "seconds": LONG_SECONDS},
        "cores": len(available_cores()),
        "processor_name": _read_processor_name(),
        "torch": torch.__version__,
    }


def _read_processor_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    typer.run(bench)
