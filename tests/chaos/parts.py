"""Processes that are started again whenever they end, and that can be killed at any moment."""

from __future__ import annotations

import http.client
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

import psutil

from service.embedded.process import LOOPBACK, dying_with_parent

LOOK_SECONDS: Final = 0.02
RESTART_SECONDS: Final = 0.2
"""What a supervisor waits before it starts again what has ended."""
STOP_SECONDS: Final = 20.0


class Kind(StrEnum):
    """What can be killed. A decoder is a process under a worker: its nursery, or a child of it."""

    WORKER = "worker"
    DECODER = "decoder"
    GATEWAY = "gateway"
    REDIS = "redis"
    TRITON = "triton"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a part is started. sweep: called before each start; away_seconds: from end to start.

    is_ready: asked again and again, must neither block long nor raise.
    """

    name: str
    kind: Kind
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    is_ready: Callable[[], bool]
    sweep: Callable[[], None] = lambda: None
    away_seconds: float = RESTART_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One kill -9. moment: seconds since the epoch; family: what had to end with the process."""

    kind: Kind
    name: str
    pid: int
    moment: float
    family: tuple[psutil.Process, ...] = ()


class Part:
    """A process by its recipe; only the supervisor's thread starts it."""

    def __init__(self, recipe: Recipe, logs_dir: Path) -> None:
        self.recipe = recipe
        self.log_file = logs_dir / f"{recipe.name}.log"
        self.starts = 0
        self._killed: set[int] = set()
        self._due = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def keep(self) -> int | None:
        """Start it if it does not run; returns the status of one that ended by itself."""
        with self._lock:
            process, status = self._process, None
            if process is not None and process.poll() is not None:
                self._process, self._due = None, time.monotonic() + self.recipe.away_seconds
                status = None if process.pid in self._killed else process.returncode
            if self._process is None and time.monotonic() >= self._due:
                self._start()
            return status

    def kill(self) -> Kill | None:
        """kill -9, whatever it is doing; None where it does not run just now."""
        with self._lock:
            process = self._process
            if process is None or process.poll() is not None:
                return None
            family = tuple(descendants(process.pid))
            self._killed.add(process.pid)
            moment = time.time()
            process.kill()
        recipe = self.recipe
        return Kill(
            kind=recipe.kind, name=recipe.name, pid=process.pid, moment=moment, family=family
        )

    def family(self) -> list[psutil.Process]:
        """Everything under its process, now."""
        process = self._process
        return descendants(process.pid) if process is not None else []

    def terminate(self) -> None:
        """Ask it to end."""
        if self._process is not None:
            self._process.terminate()

    def end(self, patience_seconds: float) -> bool:
        """Whether it ended in time; it has ended afterwards, and everything under it."""
        process = self._process
        if process is None:
            return True
        family = descendants(process.pid)
        ended = True
        try:
            process.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            ended = False
            process.kill()
            process.wait()
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.wait(patience_seconds)
        self._process = None
        return ended

    def _start(self) -> None:
        self.recipe.sweep()
        with self.log_file.open("ab") as log:
            log.write(f"--- start {self.starts + 1}\n".encode())
            log.flush()
            self._process = subprocess.Popen(
                [*dying_with_parent(), *self.recipe.command],
                env=os.environ | dict(self.recipe.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.starts += 1


class Supervisor:
    """Keeps parts running from a thread of its own, until its context ends."""

    def __init__(self, recipes: Sequence[Recipe], logs_dir: Path) -> None:
        logs_dir.mkdir(parents=True, exist_ok=True)
        self.parts = tuple(Part(recipe, logs_dir) for recipe in recipes)
        self.ended_alone: list[dict[str, object]] = []
        """Parts that ended although nobody killed them."""
        self.stopped_badly: list[str] = []
        """Parts that had to be killed in the end."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait_until_ready(self, seconds: float) -> None:
        """Raises TimeoutError: which part is not."""
        end = time.monotonic() + seconds
        for part in self.parts:
            while not part.recipe.is_ready():
                if time.monotonic() > end:
                    raise TimeoutError(f"{part.recipe.name} is not ready; see {part.log_file}")
                time.sleep(0.1)

    def _run(self) -> None:
        try:
            while not self._stop.wait(LOOK_SECONDS):
                for part in self.parts:
                    status = part.keep()
                    if status is not None:
                        self.ended_alone.append({"part": part.recipe.name, "status": status})
        finally:
            for part in self.parts:
                part.terminate()
            end = time.monotonic() + STOP_SECONDS
            for part in self.parts:
                if not part.end(max(end - time.monotonic(), 0.1)):
                    self.stopped_badly.append(part.recipe.name)


def descendants(pid: int) -> list[psutil.Process]:
    """Every process under one; none where that has ended."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def is_alive(process: psutil.Process) -> bool:
    """Whether it has not ended; one that nobody has reaped has."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def answers_well(port: int, path: str) -> bool:
    """Whether a GET on the loopback address is answered with 200 within two seconds."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
