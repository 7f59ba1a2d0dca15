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

from service.embedded.process import LOOPBACK, build_pdeathsig_prefix

SUPERVISOR_POLL_SECONDS: Final = 0.02
RESTART_DELAY_SECONDS: Final = 0.2
"""What a supervisor waits before it starts again what has ended."""
STOP_TIMEOUT_SECONDS: Final = 20.0


class ProcessKind(StrEnum):
    """What can be killed. A decoder is a process under a worker: its nursery, or a child of it."""

    WORKER = "worker"
    DECODER = "decoder"
    GATEWAY = "gateway"
    REDIS = "redis"
    TRITON = "triton"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """How a part is started. sweep: called before each start; away_seconds: from end to start.

    is_ready: asked again and again, must neither block long nor raise.
    """

    name: str
    kind: ProcessKind
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    is_ready: Callable[[], bool]
    clean_up: Callable[[], None] = lambda: None
    restart_delay_seconds: float = RESTART_DELAY_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One kill -9. moment: seconds since the epoch; family: what had to end with the process."""

    kind: ProcessKind
    name: str
    pid: int
    epoch_seconds: float
    descendants: tuple[psutil.Process, ...] = ()


class SupervisedProcess:
    """A process by its recipe; only the supervisor's thread starts it."""

    def __init__(self, spec: ProcessSpec, logs_dir: Path) -> None:
        self.spec = spec
        self.log_file = logs_dir / f"{spec.name}.log"
        self.start_count = 0
        self._killed: set[int] = set()
        self._restart_at = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def ensure_running(self) -> int | None:
        """Start it if it does not run; returns the status of one that ended by itself."""
        with self._lock:
            process, status = self._process, None
            if process is not None and process.poll() is not None:
                self._process, self._restart_at = (
                    None,
                    time.monotonic() + self.spec.restart_delay_seconds,
                )
                status = None if process.pid in self._killed else process.returncode
            if self._process is None and time.monotonic() >= self._restart_at:
                self._start()
            return status

    def kill(self) -> Kill | None:
        """kill -9, whatever it is doing; None where it does not run just now."""
        with self._lock:
            process = self._process
            if process is None or process.poll() is not None:
                return None
            family = tuple(list_descendants(process.pid))
            self._killed.add(process.pid)
            moment = time.time()
            process.kill()
        recipe = self.spec
        return Kill(
            kind=recipe.kind,
            name=recipe.name,
            pid=process.pid,
            epoch_seconds=moment,
            descendants=family,
        )

    def list_descendants(self) -> list[psutil.Process]:
        """Everything under its process, now."""
        process = self._process
        return list_descendants(process.pid) if process is not None else []

    def terminate(self) -> None:
        """Ask it to end."""
        if self._process is not None:
            self._process.terminate()

    def wait_for_exit(self, timeout_seconds: float) -> bool:
        """Whether it ended in time; it has ended afterwards, and everything under it."""
        process = self._process
        if process is None:
            return True
        family = list_descendants(process.pid)
        ended = True
        try:
            process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            ended = False
            process.kill()
            process.wait()
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.wait(timeout_seconds)
        self._process = None
        return ended

    def _start(self) -> None:
        self.spec.clean_up()
        with self.log_file.open("ab") as log:
            log.write(f"--- start {self.start_count + 1}\n".encode())
            log.flush()
            self._process = subprocess.Popen(
                [*build_pdeathsig_prefix(), *self.spec.command],
                env=os.environ | dict(self.spec.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.start_count += 1


class Supervisor:
    """Keeps parts running from a thread of its own, until its context ends."""

    def __init__(self, specs: Sequence[ProcessSpec], logs_dir: Path) -> None:
        logs_dir.mkdir(parents=True, exist_ok=True)
        self.processes = tuple(SupervisedProcess(recipe, logs_dir) for recipe in specs)
        self.unexpected_exits: list[dict[str, object]] = []
        """Parts that ended although nobody killed them."""
        self.force_killed: list[str] = []
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
        for part in self.processes:
            while not part.spec.is_ready():
                if time.monotonic() > end:
                    raise TimeoutError(f"{part.spec.name} is not ready; see {part.log_file}")
                time.sleep(0.1)

    def _run(self) -> None:
        try:
            while not self._stop.wait(SUPERVISOR_POLL_SECONDS):
                for part in self.processes:
                    status = part.ensure_running()
                    if status is not None:
                        self.unexpected_exits.append({"part": part.spec.name, "status": status})
        finally:
            for part in self.processes:
                part.terminate()
            end = time.monotonic() + STOP_TIMEOUT_SECONDS
            for part in self.processes:
                if not part.wait_for_exit(max(end - time.monotonic(), 0.1)):
                    self.force_killed.append(part.spec.name)


def list_descendants(pid: int) -> list[psutil.Process]:
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


def responds_ok(port: int, path: str) -> bool:
    """Whether a GET on the loopback address is answered with 200 within two seconds."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
