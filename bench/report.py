"""Benchmark report: `out/bench.json`, and the same as a table."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.stage_speeds import StageSpeed


def build_report(
    speeds: Mapping[str, StageSpeed], end_to_end: float, metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """Report of the speeds of every stage and of the whole service, in frames a second.

    ratio: end to end relative to the slowest stage, which was measured alone on the machine.
    shared_ceiling: speed if the cores did nothing but these stages, one after the other.
    """
    ceilings = {name: speed.frames_per_second for name, speed in speeds.items()}
    cores = len(os.sched_getaffinity(0))
    shared_ceiling = cores / sum(speed.cpu_seconds_per_frame for speed in speeds.values())
    return {
        **metadata,
        "cores": cores,
        "ceilings": ceilings,
        "end_to_end": end_to_end,
        "ratio": end_to_end / min(ceilings.values()),
        "shared_ceiling": shared_ceiling,
        "shared_ratio": end_to_end / shared_ceiling,
    }


def show_report(report: Mapping[str, Any], console: Console) -> None:
    """Print a report."""
    ceilings, end_to_end = report["ceilings"], report["end_to_end"]
    table = Table("frames/s", "alone", "end to end / alone")
    for name, rate in ceilings.items():
        table.add_row(name, f"{rate:.0f}", f"{end_to_end / rate:.2f}")
    table.add_row("end to end", f"{end_to_end:.0f}", "")
    console.print(table)
    console.print(f"{report['ratio']:.2f} of the slowest stage, measured alone on the machine")
    console.print(
        f"{report['shared_ratio']:.2f} of {report['shared_ceiling']:.0f} frames/s, "
        "the speed if the cores did nothing but these stages"
    )
