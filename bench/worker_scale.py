"""Part `scale`: one worker on half of the cores, against two workers on all of them.

One worker: it, its decode processes and everything that it needs (Triton, gateway, Redis, the
client) share the first half. Two workers: each with its decode processes on a half of its own, and
the rest wherever the kernel puts it.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

import psutil

from bench.clips import BenchClips
from bench.cost import significant
from bench.processes import available_cores, pin
from bench.stack_load import StackUnderLoad, run_stack_under_load
from service.embedded.process import find_free_ports, run_process
from service.embedded.stack import settings_to_environment
from service.settings import Settings

COPIES: Final = 4
_START_SECONDS: Final = 30.0


def measure_scale(clips: BenchClips, settings: Settings) -> dict[str, Any]:
    """Measure the gain of a second worker on cores of its own; empty where there is one core."""
    cores = available_cores()
    half = len(cores) // 2
    cores = cores[: 2 * half]
    first, second = cores[:half], cores[half:]
    if not first:
        return {}
    with run_stack_under_load(settings) as load:
        load.annotate(clips.long)
        everything = [psutil.Process()]  # the stack's processes are this one's descendants
        pin(everything, first)
        one = load.run(clips.long, COPIES)
        pin(everything, cores)
        pin(load.parts["worker"], first)
        with _second_worker(load) as worker:
            pin([worker], second)
            load.parts["worker"] |= {worker}
            load.run(clips.short, COPIES)
            two = load.run(clips.long, COPIES)
    return {
        "cores_of_one": first,
        "cores_of_two": cores,
        "one": one.to_json(len(first)),
        "two": two.to_json(len(cores)),
        "gain": significant(two.frames_per_second / one.frames_per_second),
    }


@contextmanager
def _second_worker(load: StackUnderLoad) -> Generator[psutil.Process]:
    settings = load.stack.settings
    (port,) = find_free_ports(1)
    settings = settings.model_copy(update={"worker_metrics_port": port})
    before = set(psutil.Process().children())
    with run_process(
        "worker",
        [sys.executable, "-m", "service", "worker"],
        is_ready=lambda: _answers(settings.host, port),
        log_file=settings.state_dir / "logs" / "worker-2.log",
        start_seconds=_START_SECONDS,
        environment=settings_to_environment(settings),
    ):
        (worker,) = set(psutil.Process().children()) - before
        yield worker


def _answers(host: str, port: int) -> bool:
    connection = HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().status == 200  # noqa: PLR2004 - OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
