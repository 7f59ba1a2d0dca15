"""Supervisor of processes: restarts them when they end, and can kill them at any moment."""

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
"""Delay before a process that has ended is started again."""
STOP_TIMEOUT_SECONDS: Final = 20.0


class ProcessKind(StrEnum):
    """Kinds of processes to kill. A decoder is the forkserver of a worker, or a decode process."""

    WORKER = "worker"
    DECODER = "decoder"
    GATEWAY = "gateway"
    REDIS = "redis"
    TRITON = "triton"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """Specification of a process.

    is_ready: is polled; must neither block for long nor raise. clean_up: called before each start.
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
    """Record of a SIGKILL. descendants: processes that have to end with the killed one."""

    kind: ProcessKind
    name: str
    pid: int
    epoch_seconds: float
    descendants: tuple[psutil.Process, ...] = ()


class SupervisedProcess:
    """Process of one specification; only the supervisor's thread starts it."""

    def __init__(self, spec: ProcessSpec, logs_dir: Path) -> None:
        self.spec = spec
        self.log_file = logs_dir / f"{spec.name}.log"
        self.start_count = 0
        self._killed: set[int] = set()
        self._restart_at = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def ensure_running(self) -> int | None:
        """Start it if it does not run; returns the exit status if it ended without a kill."""
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
        """Send SIGKILL; returns None if it does not run at the moment."""
        with self._lock:
            process = self._process
            if process is None or process.poll() is not None:
                return None
            descendants = tuple(list_descendants(process.pid))
            self._killed.add(process.pid)
            epoch_seconds = time.time()
            process.kill()
        return Kill(
            kind=self.spec.kind,
            name=self.spec.name,
            pid=process.pid,
            epoch_seconds=epoch_seconds,
            descendants=descendants,
        )

    def list_descendants(self) -> list[psutil.Process]:
        """List all descendants of its process."""
        process = self._process
        return list_descendants(process.pid) if process is not None else []

    def terminate(self) -> None:
        """Send SIGTERM."""
        if self._process is not None:
            self._process.terminate()

    def wait_for_exit(self, timeout_seconds: float) -> bool:
        """Wait for the process and its descendants, killing it after the timeout.

        Returns: whether it ended in time.
        """
        process = self._process
        if process is None:
            return True
        descendants = list_descendants(process.pid)
        has_ended = True
        try:
            process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            has_ended = False
            process.kill()
            process.wait()
        for each in descendants:
            with suppress(psutil.NoSuchProcess):
                each.wait(timeout_seconds)
        self._process = None
        return has_ended

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
    """Keeps processes running, in a thread, until its context ends."""

    def __init__(self, specs: Sequence[ProcessSpec], logs_dir: Path) -> None:
        logs_dir.mkdir(parents=True, exist_ok=True)
        self.processes = tuple(SupervisedProcess(spec, logs_dir) for spec in specs)
        self.unexpected_exits: list[dict[str, object]] = []
        """Processes that ended without a kill."""
        self.force_killed: list[str] = []
        """Processes that did not end after SIGTERM."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait_until_ready(self, seconds: float) -> None:
        """Wait until all processes are ready; raises TimeoutError."""
        end = time.monotonic() + seconds
        for process in self.processes:
            while not process.spec.is_ready():
                if time.monotonic() > end:
                    raise TimeoutError(f"{process.spec.name} is not ready; see {process.log_file}")
                time.sleep(0.1)

    def _run(self) -> None:
        try:
            while not self._stop.wait(SUPERVISOR_POLL_SECONDS):
                for process in self.processes:
                    status = process.ensure_running()
                    if status is not None:
                        self.unexpected_exits.append({"part": process.spec.name, "status": status})
        finally:
            for process in self.processes:
                process.terminate()
            end = time.monotonic() + STOP_TIMEOUT_SECONDS
            for process in self.processes:
                if not process.wait_for_exit(max(end - time.monotonic(), 0.1)):
                    self.force_killed.append(process.spec.name)


def list_descendants(pid: int) -> list[psutil.Process]:
    """List all descendants of a process; none if it has ended."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process has not ended; a zombie has."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def responds_ok(port: int, path: str) -> bool:
    """Return whether a GET on the loopback address returns 200 within two seconds."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
