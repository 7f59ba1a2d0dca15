"""Shared memory on a full file system: an error at the allocation, never a signal at a write."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.triton.shared_region import (
    SHARED_MEMORY_FOLDER,
    SharedMemoryFull,
    allocate_region,
)

_ALLOCATE_TOO_MUCH = """
import resource, sys
from pathlib import Path
from service.triton.shared_region import SharedMemoryFull, allocate_region

folder = Path(sys.argv[1])
if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
small = allocate_region(1 << 18, folder)
small.buffer[:] = bytes(1 << 18)
small.unlink()
try:
    allocate_region(1 << 22, folder)
except SharedMemoryFull as error:
    print("full:", error)
print(sorted(path.name for path in folder.iterdir()))
"""


def _run(*command: str) -> str:
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_every_page_of_a_region_is_allocated_and_named(tmp_path: Path) -> None:
    region = allocate_region(1 << 20, tmp_path)
    assert region.path.stat().st_blocks * 512 >= 1 << 20
    assert region.path.stat().st_mode & 0o777 == 0o600
    assert (region.size_bytes, region.key) == (1 << 20, f"/{region.path.name}")
    region.unlink()
    region.buffer[:4] = b"crop"
    region.close()
    assert list(tmp_path.iterdir()) == []


def test_too_large_a_region_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    """A limit of the size of files stands for the file system's."""
    output = _run(sys.executable, "-c", _ALLOCATE_TOO_MUCH, str(tmp_path), str(1 << 20))
    assert output.startswith("full: 4194304 bytes")
    assert output.splitlines()[-1] == "[]"


def test_a_full_file_system_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    """On a file system of 1 MiB where this user may mount one; else with a limit of files."""
    mount = f"mount -t tmpfs -o size=1m none {tmp_path}"
    script = f'{mount} && exec "$0" -c "$1" {tmp_path}'
    command = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
    probe = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount)
    may_mount = shutil.which("unshare") and not subprocess.run(probe, check=False).returncode
    if may_mount:
        output = _run(*command, script, sys.executable, _ALLOCATE_TOO_MUCH)
    else:
        output = _run(sys.executable, "-c", _ALLOCATE_TOO_MUCH, str(tmp_path), str(1 << 20))
    assert output.startswith("full: 4194304 bytes")
    assert output.splitlines()[-1] == "[]"


def test_regions_of_killed_processes_are_removed(tmp_path: Path) -> None:
    left = tmp_path / f"circumplex-crops-{2**22 + 1}-00000000"
    own = tmp_path / f"circumplex-crops-{os.getpid()}-00000000"
    other = tmp_path / "another"
    for path in (left, own, other):
        path.touch()
    allocate_region(4096, tmp_path).unlink()
    assert sorted(tmp_path.iterdir()) == sorted([own, other])


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SharedMemoryFull, match="No such file"):
        allocate_region(4096, tmp_path / "absent")
    assert SHARED_MEMORY_FOLDER.is_dir()
