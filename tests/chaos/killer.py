"""Who is killed, and when: a schedule by a seed, carried out on what runs."""

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

from tests.chaos.supervisor import Kill, ProcessKind, SupervisedProcess, is_alive

KILL_WEIGHTS: Final[Mapping[ProcessKind, int]] = {
    ProcessKind.WORKER: 8,
    ProcessKind.DECODER: 5,
    ProcessKind.GATEWAY: 4,
    ProcessKind.REDIS: 3,
    ProcessKind.TRITON: 1,
}
"""How often each is killed out of so many times; Triton takes 10 to 15 s to come back."""
DESCENDANT_EXIT_SECONDS: Final = 10.0
"""What the processes under a killed one have to end with it."""
_VICTIM_WAIT_SECONDS: Final = 1.5
"""How long a victim that is not there just now is waited for."""


def make_kill_schedule(
    seed: int, mean_interval_seconds: float
) -> Iterator[tuple[float, ProcessKind]]:
    """Pauses, seconds, and who is killed after each, without end.

    Each of the first few is of another kind, in any order; from then on the weights hold.
    """
    rng = Random(seed)
    hand = list(ProcessKind)
    while True:
        rng.shuffle(hand)
        for kind in hand:
            yield mean_interval_seconds * rng.uniform(0.4, 1.6), kind
        hand = [kind for kind, weight in KILL_WEIGHTS.items() for _ in range(weight)]


class Killer:
    """Kills by a schedule from a thread of its own, until its context ends."""

    def __init__(
        self,
        processes: Sequence[SupervisedProcess],
        schedule: Iterator[tuple[float, ProcessKind]],
        *,
        seed: int,
    ) -> None:
        self.kills: list[Kill] = []
        self.orphans: list[str] = []
        """Processes that outlived the worker or gateway that they were under. Triton's own
        children look for their parent every few seconds only.
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
        """Raises what the thread has met with, if it did."""
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
        """Note what still lives of the families of those killed until then."""
        while self._unchecked_kills and self._unchecked_kills[0].epoch_seconds <= until:
            kill = self._unchecked_kills.popleft()
            self.orphans += [
                f"{each} of {kill.name}" for each in kill.descendants if is_alive(each)
            ]

    def _kill_process(self, kind: ProcessKind) -> Kill | None:
        candidates = [part for part in self._processes if part.spec.kind is kind]
        end = time.monotonic() + _VICTIM_WAIT_SECONDS
        while time.monotonic() < end:
            kill = self._rng.choice(candidates).kill()
            if kill is not None:
                return kill
            time.sleep(0.05)
        return None

    def _kill_decoder(self) -> Kill | None:
        """A decode child where there is one, else the nursery of one."""
        workers = [part for part in self._processes if part.spec.kind is ProcessKind.WORKER]
        end = time.monotonic() + _VICTIM_WAIT_SECONDS
        found: list[tuple[SupervisedProcess, psutil.Process]] = []
        while time.monotonic() < end:
            children = [(part, each) for part in workers for each in find_decode_children(part)]
            if children:
                found = children
                break
            found = [(part, each) for part in workers for each in find_decoders(part)]
            time.sleep(0.01)
        if not found:
            return None
        part, victim = self._rng.choice(found)
        with suppress(psutil.NoSuchProcess):
            moment = time.time()
            victim.kill()
            return Kill(
                kind=ProcessKind.DECODER, name=part.spec.name, pid=victim.pid, epoch_seconds=moment
            )
        return None


def find_decoders(worker: SupervisedProcess) -> list[psutil.Process]:
    """The nursery of a worker and the decode children of it."""
    return [each for each in worker.list_descendants() if is_forkserver(each)]


def find_decode_children(worker: SupervisedProcess) -> set[psutil.Process]:
    """The decode children of a worker alone."""
    found: set[psutil.Process] = set()
    for each in find_decoders(worker):
        with suppress(psutil.NoSuchProcess):
            if is_forkserver(each.parent()):
                found.add(each)
    return found


def is_forkserver(process: psutil.Process | None) -> bool:
    """Whether it is a nursery, or a child forked from one, which has its command line."""
    try:
        return process is not None and "service.decoding.worker" in process.cmdline()
    except psutil.NoSuchProcess:
        return False
