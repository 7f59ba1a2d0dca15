"""Load on an embedded stack: clips sent at once, with the CPU time that each process took."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from circumplex_client import Client

from bench.cost import FrameCost, significant
from bench.processes import difference, read_cpu_seconds
from service.embedded.stack import Stack, isolate_settings, run_stack
from service.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRun:
    """Clips that were sent at once, from the first byte to the last result.

    cpu_seconds: by group of processes.
    """

    clips: int
    frames: int
    wall_seconds: float
    cpu_seconds: Mapping[str, float]

    @property
    def frames_per_second(self) -> float:
        """Frames of all clips by the time until the last was done."""
        return self.frames / self.wall_seconds

    @property
    def cost(self) -> FrameCost:
        """Seconds per frame: of CPU time of all processes, and of wall-clock time."""
        return FrameCost(
            cpu_seconds=sum(self.cpu_seconds.values()) / self.frames,
            wall_seconds=self.wall_seconds / self.frames,
        )

    def to_json(self, cores: int) -> dict[str, Any]:
        """Rates and milliseconds of a core per frame. busy: share of the cores that was used."""
        used = sum(self.cpu_seconds.values())
        return {
            "clips": self.clips,
            "frames": self.frames,
            "wall_seconds": significant(self.wall_seconds),
            "frames_per_second": significant(self.frames_per_second),
            "cpu_ms_per_frame": {
                group: significant(1e3 * seconds / self.frames)
                for group, seconds in self.cpu_seconds.items()
            },
            "cpu_ms_per_frame_total": significant(1e3 * used / self.frames),
            "busy": significant(used / (cores * self.wall_seconds)),
        }


class StackUnderLoad:
    """A running stack, its processes by part, its client, and the time that it took to start."""

    def __init__(self, stack: Stack, client: Client, start_seconds: float) -> None:
        self.stack = stack
        self.parts = dict(stack.parts)
        self.client = client
        self.start_seconds = start_seconds

    def run(self, clip: Path, copies: int) -> LoadRun:
        """Send copies of a clip at once and wait for all results."""
        before, started = read_cpu_seconds(self.parts), time.perf_counter()
        with ThreadPoolExecutor(copies) as threads:
            frames = list(threads.map(self.annotate, [clip] * copies))
        wall = time.perf_counter() - started
        used = difference(read_cpu_seconds(self.parts), before)
        return LoadRun(clips=copies, frames=sum(frames), wall_seconds=wall, cpu_seconds=used)

    def annotate(self, clip: Path) -> int:
        """Send a clip, follow its events to the end, and fetch the result: its frames."""
        job = self.client.submit(clip)
        for _ in self.client.events(job.id):
            pass
        return len(self.client.result(job.id).time)


@contextmanager
def run_stack_under_load(settings: Settings) -> Generator[StackUnderLoad]:
    """Start a stack of its own ports and files, ready for load."""
    started = time.perf_counter()
    with (
        TemporaryDirectory(prefix="circumplex-bench-") as folder,
        run_stack(isolate_settings(settings, Path(folder))) as stack,
        Client(f"http://{stack.settings.host}:{stack.settings.http_port}") as client,
    ):
        yield StackUnderLoad(stack, client, time.perf_counter() - started)
