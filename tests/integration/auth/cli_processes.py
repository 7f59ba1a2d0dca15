"""Processes of the command line: a single command, or a running gateway."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from service.embedded.stack import settings_to_environment
from service.settings import Settings

START_TIMEOUT_SECONDS: Final = 60.0


def run_circumplex(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        env=os.environ | settings_to_environment(settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=START_TIMEOUT_SECONDS,
    )


@contextmanager
def running_gateway(settings: Settings, log_file: Path) -> Generator[str]:
    """Run `circumplex gateway`; yields its address."""
    url = f"http://127.0.0.1:{settings.http_port}"
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", "gateway"],
            env=os.environ | settings_to_environment(settings),
            stderr=log,
        )
    try:
        until = time.monotonic() + START_TIMEOUT_SECONDS
        while not _is_up(url):
            assert process.poll() is None, log_file.read_text()
            assert time.monotonic() < until
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(START_TIMEOUT_SECONDS)


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live").is_success
    except httpx.TransportError:
        return False
