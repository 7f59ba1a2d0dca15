"""Resource limits of a confined process."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

PREAMBLE = """
import os, numpy as np
from service.decoding.sandbox import restrictions
def confine(cpu_seconds=60):
    restrictions.limit_resources(memory_bytes=2**28, cpu_seconds=cpu_seconds)
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PREAMBLE + code], capture_output=True, text=True, timeout=60
    )


def test_a_confined_process_cannot_write_a_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    process = run(
        f"confine(); file = open({str(target)!r}, 'wb', buffering=0)\n"
        "try: file.write(b'x')\n"
        "except OSError as error: print(error.strerror)"
    )
    assert "File too large" in process.stdout
    assert target.read_bytes() == b""


def test_a_confined_process_has_memory_up_to_its_limit() -> None:
    process = run(
        "confine(); np.ones(2**24, np.uint8); print('some')\n"
        "try: np.ones(2**29, np.uint8)\n"
        "except MemoryError: print('no more')"
    )
    assert process.stdout.split("\n")[:2] == ["some", "no more"]


def test_a_confined_process_runs_out_of_handles() -> None:
    process = run(
        "confine()\n"
        "try: held = [os.dup(0) for _ in range(100)]\n"
        "except OSError as error: print(error.strerror)"
    )
    assert "Too many open files" in process.stdout


def test_a_confined_process_runs_out_of_time() -> None:
    process = run("confine(1)\nwhile True: pass")
    assert process.returncode == -signal.SIGXCPU


def test_process_ends_when_its_parent_has_died() -> None:
    process = run("restrictions.die_with_parent(1 << 22); print('alive')")
    assert process.returncode == -9
    assert process.stdout == ""
