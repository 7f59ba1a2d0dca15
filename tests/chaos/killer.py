"""Killer of running processes, by a random schedule with a seed."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from random import Random
from typing import Final, Self

import psutil

from service.decoding.extractor import WORKER_MODULE
from tests.chaos.supervisor import Kill, ProcessKind, SupervisedProcess, is_alive

KILL_WEIGHTS: Final[Mapping[ProcessKind, int]] = {
    ProcessKind.WORKER: 8,
    ProcessKind.DECODER: 5,
    ProcessKind.GATEWAY: 4,
    ProcessKind.REDIS: 3,
    ProcessKind.TRITON: 1,
}
"""Relative frequency of kills; Triton takes 10 to 15 s to restart."""
DESCENDANT_EXIT_SECONDS: Final = 10.0
"""Time within which the descendants of a killed process have to end."""
_VICTIM_WAIT_SECONDS: Final = 1.5
"""Longest wait for a process to kill that does not run at the moment."""


def make_kill_schedule(
    seed: int, mean_interval_seconds: float
) -> Iterator[tuple[float, ProcessKind]]:
    """Yield pauses in seconds and the kind to kill after each, without end.

    The first kills cover each kind once, in random order; later ones follow KILL_WEIGHTS.
    """
    rng = Random(seed)
    deck = list(ProcessKind)
    while True:
        rng.shuffle(deck)
        for kind in deck:
            yield mean_interval_seconds * rng.uniform(0.4, 1.6), kind
        deck = [kind for kind, weight in KILL_WEIGHTS.items() for _ in range(weight)]


class Killer:
    """Kills processes by a schedule, in a thread, until its context ends."""

    def __init__(
        self,
        processes: Sequence[SupervisedProcess],
        schedule: Iterator[tuple[float, ProcessKind]],
        *,
        seed: int,
    ) -> None:
        self.kills: list[Kill] = []
        self.orphans: list[str] = []
        """Processes that outlived the killed worker or gateway that had started them.

        Those of Triton are not checked: they poll for their parent only every few seconds.
        """
        self._processes = processes
        self._schedule = schedule
        self._rng = Random(seed)
        self._unchecked_kills: deque[Kill] = deque()
        self._stop = threading.Event()
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="killer")
        self._running: Future[None] | None = None

    def __enter__(self) -> Self:
        self._running = self._threads.submit(self._run)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._threads.shutdown()
        if self._running is not None:
            self._running.result()

    def raise_if_failed(self) -> None:
        """Raise the error of the thread, if it has failed."""
        if self._running is not None and self._running.done():
            self._running.result()

    def _run(self) -> None:
        for pause_seconds, kind in self._schedule:
            if self._stop.wait(pause_seconds):
                break
            kill = self._kill_decoder() if kind is ProcessKind.DECODER else self._kill_process(kind)
            if kill is not None:
                self.kills.append(kill)
                if kill.kind in (ProcessKind.WORKER, ProcessKind.GATEWAY):
                    self._unchecked_kills.append(kill)
            self._record_orphans(time.time() - DESCENDANT_EXIT_SECONDS)
        last = (
            self._unchecked_kills[-1].epoch_seconds + DESCENDANT_EXIT_SECONDS
            if self._unchecked_kills
            else 0.0
        )
        while (
            self._unchecked_kills
            and time.time() < last
            and any(map(is_alive, self._list_descendants()))
        ):
            time.sleep(0.1)
        self._record_orphans(last)

    def _list_descendants(self) -> list[psutil.Process]:
        return [process for kill in self._unchecked_kills for process in kill.descendants]

    def _record_orphans(self, until: float) -> None:
        """Record descendants that still run, of processes killed up to `until`."""
        while self._unchecked_kills and self._unchecked_kills[0].epoch_seconds <= until:
            kill = self._unchecked_kills.popleft()
            self.orphans += [
                f"{each} of {kill.name}" for each in kill.descendants if is_alive(each)
            ]

    def _kill_process(self, kind: ProcessKind) -> Kill | None:
        candidates = [each for each in self._processes if each.spec.kind is kind]
        end = time.monotonic() + _VICTIM_WAIT_SECONDS
        while time.monotonic() < end:
            kill = self._rng.choice(candidates).kill()
            if kill is not None:
                return kill
            time.sleep(0.05)
        return None

    def _kill_decoder(self) -> Kill | None:
        """Kill a decode process, or a forkserver if no clip is being decoded."""
        workers = [each for each in self._processes if each.spec.kind is ProcessKind.WORKER]
        end = time.monotonic() + _VICTIM_WAIT_SECONDS
        found: list[tuple[SupervisedProcess, psutil.Process]] = []
        while time.monotonic() < end:
            decoding = [
                (worker, each) for worker in workers for each in find_decode_processes(worker)
            ]
            if decoding:
                found = decoding
                break
            found = [(worker, each) for worker in workers for each in find_decoders(worker)]
            time.sleep(0.01)
        if not found:
            return None
        worker, victim = self._rng.choice(found)
        with suppress(psutil.NoSuchProcess):
            epoch_seconds = time.time()
            victim.kill()
            return Kill(
                kind=ProcessKind.DECODER,
                name=worker.spec.name,
                pid=victim.pid,
                epoch_seconds=epoch_seconds,
            )
        return None


def find_decoders(worker: SupervisedProcess) -> list[psutil.Process]:
    """Find the forkserver of a worker and its decode processes."""
    return [each for each in worker.list_descendants() if is_decoder(each)]


def find_decode_processes(worker: SupervisedProcess) -> set[psutil.Process]:
    """Find the decode processes of a worker."""
    found: set[psutil.Process] = set()
    for each in find_decoders(worker):
        with suppress(psutil.NoSuchProcess):
            if is_decoder(each.parent()):
                found.add(each)
    return found


def is_decoder(process: psutil.Process | None) -> bool:
    """Return whether it is a forkserver or forked from one: they share a command line."""
    try:
        return process is not None and WORKER_MODULE in process.cmdline()
    except psutil.NoSuchProcess:
        return False
