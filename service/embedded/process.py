"""Server processes: started and ready on entry, stopped on exit, never outliving their parent."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from mirakuru import ProcessExitedWithError, TimeoutExpired
from mirakuru.base import Executor

from service.errors import EmbeddedServerNotStarted

LOOPBACK: Final = "127.0.0.1"
_POLL_SECONDS: Final = 0.05
STOP_SECONDS: Final = 15.0
"""Grace period of a process after SIGTERM."""
_TAIL_LINES: Final = 15


@contextmanager
def run_process(
    name: str,
    command: Sequence[str],
    *,
    is_ready: Callable[[], bool],
    log_file: Path,
    start_seconds: float,
    stop_seconds: float = STOP_SECONDS,
    environment: Mapping[str, str] | None = None,
) -> Generator[None]:
    """Run `command` until the context ends; entered once `is_ready` returns True.

    Enter it from a thread that lives as long as the process should: the kernel ends the
    process when the thread that started it ends, even one that was killed.

    Args: is_ready: polled; must neither block long nor raise.
        log_file: stdout and stderr of the process; the previous run's is renamed to `.previous`.
    Raises: EmbeddedServerNotStarted: with the end of the log.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    if log_file.exists():
        log_file.replace(log_file.with_name(f"{log_file.name}.previous"))
    with log_file.open("wb") as log:
        server = _ServerExecutor(
            [*build_pdeathsig_prefix(), *command],
            is_ready,
            log=log.fileno(),
            start_seconds=start_seconds,
            environment=dict(environment or {}),
        )
        try:
            server.start()
            yield
        except ProcessExitedWithError as error:
            reason = f"{name} ended with status {error.exit_code} at its start"
            raise EmbeddedServerNotStarted(f"{reason}; {_read_log_tail(log_file)}") from error
        except TimeoutExpired as error:
            reason = f"{name} was not ready after {start_seconds:.0f} s"
            raise EmbeddedServerNotStarted(f"{reason}; {_read_log_tail(log_file)}") from error
        finally:
            server.shut_down(stop_seconds)


def find_free_ports(count: int) -> list[int]:
    """Find distinct ports of the loopback address that nothing listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def require_free_port(name: str, port: int) -> None:
    """Check that a port is free. Raises: EmbeddedServerNotStarted: it is in use."""
    with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
        raise EmbeddedServerNotStarted(f"{name} cannot start: port {port} is in use")


class _ServerExecutor(Executor):
    """mirakuru's executor with a readiness callback and a graceful stop."""

    def __init__(
        self,
        command: list[str],
        is_ready: Callable[[], bool],
        *,
        log: int,
        start_seconds: float,
        environment: dict[str, str],
    ) -> None:
        super().__init__(
            command,
            timeout=start_seconds,
            sleep=_POLL_SECONDS,
            envvars=environment,
            stdin=None,
            stdout=log,
            stderr=log,
        )
        self._is_ready = is_ready

    def pre_start_check(self) -> bool:
        return False

    def after_start_check(self) -> bool:
        return self._is_ready()

    def shut_down(self, grace_seconds: float) -> None:
        """Send SIGTERM to the server alone, which stops its own processes; then kill the rest."""
        process = self.process  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # mirakuru leaves Popen's parameter open
        if process is not None and process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(grace_seconds)
        self.kill()


def build_pdeathsig_prefix() -> list[str]:
    """Command prefix that sends SIGTERM to the process when the thread that started it ends."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []


def _read_log_tail(log_file: Path) -> str:
    lines = log_file.read_text(encoding="utf-8", errors="replace").splitlines()
    return f"{log_file} ends with:\n" + "\n".join(lines[-_TAIL_LINES:])
