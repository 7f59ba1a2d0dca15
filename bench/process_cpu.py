"""Processor time of a running stack by the part that took it, children that have ended included."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping

import psutil

_PARTS: tuple[tuple[str, str], ...] = (
    (r"service\.decoding\.worker", "decode processes"),
    (r"tritonserver --model-repository", "triton server"),
    (r"\S+@\d+\.(?P<part>\w+)", ""),
    (r"triton_python_backend_stub", "models"),
    (r"redis-server", "redis"),
    (r"\bgateway\b", "gateway"),
    (r"\bworker\b", "worker"),
)
"""Patterns of command lines, and the parts that they belong to; empty: named after the group."""


def read_cpu_seconds() -> Counter[str]:
    """Return the processor seconds so far of this process and all below it, by part.

    This process is called `client`: it makes the load.
    """
    seconds: Counter[str] = Counter()
    for name, process in _walk():
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        is_own = process.pid == os.getpid()
        seconds[name] += times.user + times.system
        seconds[name] += 0.0 if is_own else times.children_user + times.children_system
    return seconds


def cpu_ms_per_frame(
    before: Mapping[str, float], after: Mapping[str, float], frames: int
) -> dict[str, float]:
    """Return the processor milliseconds a frame of each part, the largest first."""
    spent = {name: 1e3 * (seconds - before.get(name, 0.0)) for name, seconds in after.items()}
    largest = sorted(spent.items(), key=lambda each: -each[1])
    return {name: round(each / max(frames, 1), 3) for name, each in largest if each > 0}


def _walk() -> Iterator[tuple[str, psutil.Process]]:
    own = psutil.Process()
    yield "client", own
    for process in own.children(recursive=True):
        try:
            command = " ".join(process.cmdline())
        except psutil.NoSuchProcess:
            continue
        yield _name_part(command), process


def _name_part(command: str) -> str:
    for pattern, name in _PARTS:
        if found := re.search(pattern, command):
            return name or found["part"]
    return "other"
