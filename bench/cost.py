"""Costs of repeated work: CPU time and wall-clock time per frame, measured in turns.

Works that are compared are measured in turns within one run, so that other load on the machine and
its changing clock affect all of them alike; the median over the rounds is what counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Work = Callable[[], int]
"""Work that returns its number of frames."""
Measurement = Callable[[], "FrameCost"]
"""One execution of a work, measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameCost:
    """Seconds per frame: of CPU time over all threads, and of wall-clock time."""

    cpu_seconds: float
    wall_seconds: float

    def to_json(self) -> dict[str, Any]:
        """Milliseconds of a core per frame, and frames a second, to four digits."""
        return {
            "cpu_ms_per_frame": significant(1e3 * self.cpu_seconds),
            "frames_per_second": significant(1 / self.wall_seconds),
        }


def timed(work: Work) -> Measurement:
    """Measure the whole of a work, over all threads of this process."""

    def measure() -> FrameCost:
        wall, cpu = time.perf_counter(), time.process_time()
        frames = work()
        return FrameCost(
            cpu_seconds=(time.process_time() - cpu) / frames,
            wall_seconds=(time.perf_counter() - wall) / frames,
        )

    return measure


class CpuStopwatch:
    """CPU time of the calling thread and wall-clock time within the context, added up."""

    def __init__(self) -> None:
        self._cpu_seconds = self._wall_seconds = 0.0

    def __enter__(self) -> None:
        self._wall_seconds -= time.perf_counter()
        self._cpu_seconds -= time.thread_time()

    def __exit__(self, *_: object) -> None:
        self._cpu_seconds += time.thread_time()
        self._wall_seconds += time.perf_counter()

    def per_frame(self, frames: int) -> FrameCost:
        """Cost so far for each of the frames."""
        return FrameCost(
            cpu_seconds=self._cpu_seconds / frames, wall_seconds=self._wall_seconds / frames
        )


def measure_in_turns(
    measurements: Mapping[str, Measurement], *, min_rounds: int = 3, seconds: float = 0.0
) -> list[dict[str, FrameCost]]:
    """Take every measurement in each round, after one of each that is not counted.

    Args: seconds: rounds go on until this time has passed.
    Returns: costs by name, for each round.
    """
    for measure in measurements.values():
        measure()
    rounds: list[dict[str, FrameCost]] = []
    end = time.perf_counter() + seconds
    while len(rounds) < min_rounds or time.perf_counter() < end:
        rounds.append({name: measure() for name, measure in measurements.items()})
    return rounds


def median_costs(rounds: Sequence[Mapping[str, FrameCost]]) -> dict[str, FrameCost]:
    """Median of each work's costs over the rounds."""
    return {
        name: FrameCost(
            cpu_seconds=median(each[name].cpu_seconds for each in rounds),
            wall_seconds=median(each[name].wall_seconds for each in rounds),
        )
        for name in rounds[0]
    }


def significant(value: float, digits: int = 4) -> float:
    """Round to a number of significant digits."""
    return float(f"{value:.{digits}g}")
