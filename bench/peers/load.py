"""Load on a running system: clips sent by concurrent clients, and what they cost."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from bench.peers.systems import PeerEstimates, RunningSystem

_SAMPLING_INTERVAL_SECONDS: Final = 0.5
_MIB_BYTES: Final = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCost:
    """Cost of a load.

    latencies_seconds: of each clip, from the client's first byte to its result; cpu_seconds: of
    all processes of the system; idle_mib, peak_mib: their memory before, and at most during the
    load, in which pages that are shared count once.
    """

    clips: int
    frames: int
    wall_seconds: float
    cpu_seconds: float
    idle_mib: float
    peak_mib: float
    latencies_seconds: tuple[float, ...]


def run_load(system: RunningSystem, clips: Sequence[Path], at_once: int) -> LoadCost:
    """Send clips in order, `at_once` at a time."""

    def send(clip: Path) -> tuple[int, float]:
        began = time.perf_counter()
        estimates = system.annotate(clip)
        return len(estimates.times_seconds), time.perf_counter() - began

    idle = measure_memory_mib(system.processes)
    with _memory_sampled(system.processes) as samples, ThreadPoolExecutor(at_once) as clients:
        cpu, began = measure_cpu_seconds(system.processes), time.perf_counter()
        answers = list(clients.map(send, clips))
        wall = time.perf_counter() - began
        cpu = measure_cpu_seconds(system.processes) - cpu
    return LoadCost(
        clips=len(clips),
        frames=sum(frames for frames, _ in answers),
        wall_seconds=wall,
        cpu_seconds=cpu,
        idle_mib=idle,
        peak_mib=max(samples),
        latencies_seconds=tuple(seconds for _, seconds in answers),
    )


def warm_up(system: RunningSystem, clip: Path) -> PeerEstimates:
    """Send a clip twice to each process that may answer; returns the estimates."""
    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores) as clients:
        first, *_ = clients.map(system.annotate, [clip] * (2 * cores))
    return first


def measure_cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """Measure the processor time so far of processes and descendants, ended ones included."""
    seconds = 0.0
    for process in _list_trees(processes):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def measure_memory_mib(processes: Iterable[psutil.Process]) -> float:
    """Measure the proportional set size of processes and descendants."""
    size = 0
    for process in _list_trees(processes):
        with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            lines = Path("/proc", str(process.pid), "smaps_rollup").read_text().splitlines()
            size += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return size / _MIB_BYTES


def _list_trees(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    trees: list[psutil.Process] = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            trees += [process, *process.children(recursive=True)]
    return trees


@contextmanager
def _memory_sampled(processes: tuple[psutil.Process, ...]) -> Generator[list[float]]:
    """Sample the memory until the context ends, and once at its end."""
    samples: list[float] = []
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(_SAMPLING_INTERVAL_SECONDS):
            samples.append(measure_memory_mib(processes))

    thread = threading.Thread(target=sample, name="memory-sampler")
    thread.start()
    try:
        yield samples
    finally:
        samples.append(measure_memory_mib(processes))
        stop.set()
        thread.join()
