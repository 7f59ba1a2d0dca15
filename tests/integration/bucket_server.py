"""Bucket server: rclone's S3-compatible server on a free port, over a folder."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.integration.servers import free_port

BUCKET: Final = "clips"
KEY_ID: Final = "integration"
SECRET: Final = "only-for-tests"
_START_TIMEOUT_SECONDS: Final = 30.0


class BucketServer:
    """An S3-compatible server that can be killed and started again on the same port and folder."""

    def __init__(self, folder: Path) -> None:
        self._log_file = folder / "server.log"
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = folder / "data"
        (self.folder / BUCKET).mkdir(parents=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def settings(self, prefix: str, **changes: Any) -> dict[str, Any]:
        """Values of Settings for this server; for credentials see `credentials_environment`."""
        return {
            "store_url": f"s3://{BUCKET}/{prefix}",
            "store_endpoint": self.url,
            "store_region": "us-east-1",
            "store_allow_http": True,
        } | changes

    def list_files(self, prefix: str) -> list[str]:
        """Files under a prefix, the server's own unfinished ones included."""
        below = self.folder / BUCKET / prefix
        return sorted(str(file.relative_to(below)) for file in below.rglob("*") if file.is_file())

    def start(self) -> None:
        command = [
            *(Path(sys.executable).with_name("rclone"), "serve", "s3", self.folder),
            *("--addr", f"127.0.0.1:{self._port}", "--auth-key", f"{KEY_ID},{SECRET}"),
            *("--config", "", "--no-cleanup"),
        ]
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while not self._accepts_connections():
            assert self._process.poll() is None, self._log_file.read_text()
            assert time.monotonic() < deadline, self._log_file.read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill the server with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _accepts_connections(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
        except OSError:
            return False
        return True


@contextmanager
def running_bucket(folder: Path) -> Generator[BucketServer]:
    server = BucketServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def list_foreign_variables() -> list[str]:
    """Names of environment variables with other credentials, or of proxies."""
    return [name for name in os.environ if name.startswith("AWS_") or is_proxy_variable(name)]


def is_proxy_variable(name: str) -> bool:
    return name.lower() in ("http_proxy", "https_proxy", "all_proxy")


def credentials_environment(key_id: str = KEY_ID, secret: str = SECRET) -> dict[str, str]:
    """Environment of this process with these credentials and no others."""
    foreign = list_foreign_variables()
    rest = {name: value for name, value in os.environ.items() if name not in foreign}
    return rest | {"AWS_ACCESS_KEY_ID": key_id, "AWS_SECRET_ACCESS_KEY": secret}
