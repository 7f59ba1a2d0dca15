"""Part `service`: the whole service under load, and what it costs beside its stages."""

from __future__ import annotations

import time
from statistics import median
from typing import Any, Final

from bench.clips import BenchClips
from bench.cost import significant
from bench.processes import (
    available_cores,
    difference,
    peak_memory,
    read_cpu_seconds,
    read_memory_mib,
    wait_until_idle,
)
from bench.stack_load import LoadRun, StackUnderLoad, run_stack_under_load
from service.settings import Settings

COPIES: Final = (4, 16)
SINGLE_RUNS: Final = 3
SHORT_RUNS: Final = 20
_IDLE_SECONDS: Final = 4.0
QUEUE_GROUPS: Final = ("gateway", "Redis")


def measure_service(clips: BenchClips, settings: Settings) -> dict[str, Any]:
    """Measure one clip alone, several at once and short ones, on one stack."""
    cores = len(available_cores())
    with run_stack_under_load(settings) as load:
        load.annotate(clips.long)
        wait_until_idle(load.parts)
        ready_mib, idle = read_memory_mib(load.parts), _measure_idle(load)
        short_wall, short = _measure_short(load, clips)
        alone = [load.run(clips.long, 1) for _ in range(SINGLE_RUNS)]
        with peak_memory(load.parts) as peak:
            load.run(clips.long, COPIES[0])
        together = {copies: load.run(clips.long, copies) for copies in COPIES}
    return {
        "start_seconds": significant(load.start_seconds),
        "alone": _median_run(alone).to_json(cores),
        "at_once": {str(copies): run.to_json(cores) for copies, run in together.items()},
        "short": {
            "p50_seconds": significant(median(short_wall)),
            "max_seconds": significant(max(short_wall)),
        },
        "queue": fit_queue_costs(short, together[COPIES[-1]], idle),
        "memory_mib": {"ready": ready_mib, "peak_of_4_clips": dict(peak)},
    }


def measure_other_model(clips: BenchClips, settings: Settings) -> dict[str, Any]:
    """Measure start, four clips at once and memory with another model."""
    cores = len(available_cores())
    with run_stack_under_load(settings) as load:
        load.annotate(clips.long)
        wait_until_idle(load.parts)
        ready_mib = read_memory_mib(load.parts)
        run = load.run(clips.long, COPIES[0])
    return {
        "start_seconds": significant(load.start_seconds),
        "at_once": {str(COPIES[0]): run.to_json(cores)},
        "memory_mib": {"ready": ready_mib},
    }


def fit_queue_costs(short: LoadRun, long: LoadRun, idle: dict[str, float]) -> dict[str, float]:
    """Milliseconds of a core that gateway and Redis take for each clip and for each frame.

    From clips of two lengths, less what both take while idle.

    Args: idle: cores that each group uses while nothing is sent.
    """
    first, second = (_queue_seconds(run, idle) for run in (short, long))
    determinant = short.clips * long.frames - long.clips * short.frames
    per_clip = (first * long.frames - second * short.frames) / determinant
    per_frame = (second * short.clips - first * long.clips) / determinant
    return {
        "cpu_ms_per_clip": significant(1e3 * per_clip),
        "cpu_ms_per_frame": significant(1e3 * per_frame),
        "idle_cores": significant(sum(idle[group] for group in QUEUE_GROUPS)),
    }


def _queue_seconds(run: LoadRun, idle: dict[str, float]) -> float:
    return sum(run.cpu_seconds[group] - idle[group] * run.wall_seconds for group in QUEUE_GROUPS)


def _measure_idle(load: StackUnderLoad) -> dict[str, float]:
    before = read_cpu_seconds(load.parts)
    time.sleep(_IDLE_SECONDS)
    used = difference(read_cpu_seconds(load.parts), before)
    return {group: seconds / _IDLE_SECONDS for group, seconds in used.items()}


def _measure_short(load: StackUnderLoad, clips: BenchClips) -> tuple[list[float], LoadRun]:
    """Send short clips one after the other. Returns: seconds of each; all of them as one run."""
    load.annotate(clips.short)
    runs = [load.run(clips.short, 1) for _ in range(SHORT_RUNS)]
    cpu = {group: sum(run.cpu_seconds[group] for run in runs) for group in runs[0].cpu_seconds}
    walls = [run.wall_seconds for run in runs]
    frames = sum(run.frames for run in runs)
    total = LoadRun(clips=len(runs), frames=frames, wall_seconds=sum(walls), cpu_seconds=cpu)
    return walls, total


def _median_run(runs: list[LoadRun]) -> LoadRun:
    return sorted(runs, key=lambda run: run.wall_seconds)[len(runs) // 2]
