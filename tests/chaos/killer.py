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

from tests.chaos.parts import Kill, Kind, Part, is_alive

WEIGHTS: Final[Mapping[Kind, int]] = {
    Kind.WORKER: 8,
    Kind.DECODER: 5,
    Kind.GATEWAY: 4,
    Kind.REDIS: 3,
    Kind.TRITON: 1,
}
"""How often each is killed out of so many times; Triton takes 10 to 15 s to come back."""
FAMILY_SECONDS: Final = 10.0
"""What the processes under a killed one have to end with it."""
_WAIT_SECONDS: Final = 1.5
"""How long a victim that is not there just now is waited for."""


def schedule(seed: int, every_seconds: float) -> Iterator[tuple[float, Kind]]:
    """Pauses, seconds, and who is killed after each, without end.

    Each of the first few is of another kind, in any order; from then on the weights hold.
    """
    rng = Random(seed)
    hand = list(Kind)
    while True:
        rng.shuffle(hand)
        for kind in hand:
            yield every_seconds * rng.uniform(0.4, 1.6), kind
        hand = [kind for kind, weight in WEIGHTS.items() for _ in range(weight)]


class Killer:
    """Kills by a schedule from a thread of its own, until its context ends."""

    def __init__(
        self, parts: Sequence[Part], plan: Iterator[tuple[float, Kind]], *, seed: int
    ) -> None:
        self.kills: list[Kill] = []
        self.orphans: list[str] = []
        """Processes that outlived the worker or gateway that they were under. Triton's own
        children look for their parent every few seconds only.
        """
        self._parts = parts
        self._plan = plan
        self._rng = Random(seed)
        self._families: deque[Kill] = deque()
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

    def look(self) -> None:
        """Raises what the thread has met with, if it did."""
        if self._running is not None and self._running.done():
            self._running.result()

    def _run(self) -> None:
        for pause_seconds, kind in self._plan:
            if self._stop.wait(pause_seconds):
                break
            kill = self._kill_decoder() if kind is Kind.DECODER else self._kill_part(kind)
            if kill is not None:
                self.kills.append(kill)
                if kill.kind in (Kind.WORKER, Kind.GATEWAY):
                    self._families.append(kill)
            self._look_after(time.time() - FAMILY_SECONDS)
        last = self._families[-1].moment + FAMILY_SECONDS if self._families else 0.0
        while self._families and time.time() < last and any(map(is_alive, self._left())):
            time.sleep(0.1)
        self._look_after(last)

    def _left(self) -> list[psutil.Process]:
        return [process for kill in self._families for process in kill.family]

    def _look_after(self, until: float) -> None:
        """Note what still lives of the families of those killed until then."""
        while self._families and self._families[0].moment <= until:
            kill = self._families.popleft()
            self.orphans += [f"{each} of {kill.name}" for each in kill.family if is_alive(each)]

    def _kill_part(self, kind: Kind) -> Kill | None:
        candidates = [part for part in self._parts if part.recipe.kind is kind]
        end = time.monotonic() + _WAIT_SECONDS
        while time.monotonic() < end:
            kill = self._rng.choice(candidates).kill()
            if kill is not None:
                return kill
            time.sleep(0.05)
        return None

    def _kill_decoder(self) -> Kill | None:
        """A decode child where there is one, else the nursery of one."""
        workers = [part for part in self._parts if part.recipe.kind is Kind.WORKER]
        end = time.monotonic() + _WAIT_SECONDS
        found: list[tuple[Part, psutil.Process]] = []
        while time.monotonic() < end:
            children = [(part, each) for part in workers for each in decode_children(part)]
            if children:
                found = children
                break
            found = [(part, each) for part in workers for each in decoders(part)]
            time.sleep(0.01)
        if not found:
            return None
        part, victim = self._rng.choice(found)
        with suppress(psutil.NoSuchProcess):
            moment = time.time()
            victim.kill()
            return Kill(kind=Kind.DECODER, name=part.recipe.name, pid=victim.pid, moment=moment)
        return None


def decoders(worker: Part) -> list[psutil.Process]:
    """The nursery of a worker and the decode children of it."""
    return [each for each in worker.family() if is_nursery(each)]


def decode_children(worker: Part) -> set[psutil.Process]:
    """The decode children of a worker alone."""
    found: set[psutil.Process] = set()
    for each in decoders(worker):
        with suppress(psutil.NoSuchProcess):
            if is_nursery(each.parent()):
                found.add(each)
    return found


def is_nursery(process: psutil.Process | None) -> bool:
    """Whether it is a nursery, or a child forked from one, which has its command line."""
    try:
        return process is not None and "service.extraction" in process.cmdline()
    except psutil.NoSuchProcess:
        return False
