"""Processes of a running stack: CPU time and memory by group, and the cores that they may use.

Groups: the gateway, the worker, the decode processes (with their forkservers), Redis, Triton's
server, its model processes, and the client, which is this process.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil

Parts = Mapping[str, Iterable[psutil.Process]]
"""Processes of a stack by the name of its part, as `service.embedded.stack.Stack` has them."""

GROUPS: Final[tuple[str, ...]] = (
    "client",
    "gateway",
    "Redis",
    "worker",
    "decode",
    "Triton",
    "models",
)
_DESCENDANTS: Final[Mapping[str, str]] = {"Triton": "models", "Redis": "Redis"}
"""Group of what the processes of a part have started; of worker and gateway: decode."""
_SAMPLING_INTERVAL_SECONDS: Final = 0.1
_MIB_BYTES: Final = 2**20


def read_cpu_seconds(parts: Parts) -> dict[str, float]:
    """CPU seconds of each group so far; processes that have ended count where they were awaited."""
    seconds: dict[str, float] = dict.fromkeys(GROUPS, 0.0)
    own = psutil.Process().cpu_times()
    seconds["client"] = own.user + own.system
    for process, group, descendants in _walk(parts):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            seconds[group] += times.user + times.system
            seconds[descendants] += times.children_user + times.children_system
    return seconds


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """Difference of two readings, by group."""
    return {group: after[group] - before[group] for group in after}


def read_memory_mib(parts: Parts) -> dict[str, float]:
    """Memory of each group in MiB: proportional set size, shared pages divided by their users."""
    mebibytes: dict[str, float] = defaultdict(float)
    for process, group, _ in _walk(parts):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            mebibytes[group] += process.memory_full_info().pss / _MIB_BYTES
    return {group: round(mebibytes[group], 1) for group in GROUPS if group in mebibytes}


@contextmanager
def peak_memory(parts: Parts) -> Generator[dict[str, float]]:
    """Fill the yielded mapping with the groups' memory at the moment of the largest total."""
    peak: dict[str, float] = {}

    def sample() -> None:
        found = read_memory_mib(parts)
        if sum(found.values()) > sum(peak.values()):
            peak.update(found)

    with sampling(sample, _SAMPLING_INTERVAL_SECONDS):
        yield peak


@contextmanager
def sampling(sample: Callable[[], None], interval_seconds: float) -> Generator[None]:
    """Call a function at intervals, on a thread of its own, until the context ends."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(interval_seconds):
            sample()

    thread = threading.Thread(target=run, name="memory-sampler")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def pin(processes: Iterable[psutil.Process], cores: Iterable[int]) -> None:
    """Restrict processes, their descendants and all their threads to these cores.

    What they start later inherits it.
    """
    chosen = set(cores)
    for process in processes:
        for each in (process, *process.children(recursive=True)):
            with suppress(FileNotFoundError, ProcessLookupError):
                for thread in Path("/proc", str(each.pid), "task").iterdir():
                    with suppress(ProcessLookupError):
                        os.sched_setaffinity(int(thread.name), chosen)


def available_cores() -> list[int]:
    """Cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


def wait_until_idle(parts: Parts, *, seconds: float = 1.0, share: float = 0.05) -> None:
    """Wait until the stack uses less than this share of a core for so long; 20 s at most."""
    for _ in range(round(20 / seconds)):
        before = sum(read_cpu_seconds(parts).values())
        time.sleep(seconds)
        if sum(read_cpu_seconds(parts).values()) - before < share * seconds:
            return


def _walk(parts: Parts) -> Iterator[tuple[psutil.Process, str, str]]:
    """Yield each process with its group, and the group of those that it starts."""
    for part, processes in parts.items():
        descendants = _DESCENDANTS.get(part, "decode")
        for process in processes:
            yield process, part, descendants
            with suppress(psutil.NoSuchProcess):
                for each in process.children(recursive=True):
                    yield each, descendants, descendants
