"""Shared memory whose pages exist before it is used: a full /dev/shm is an error, not a SIGBUS.

`multiprocessing.shared_memory` only sets the size of its file: the process is killed at the first
write for which the file system has no page.
"""

from __future__ import annotations

import mmap
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SHARED_MEMORY_FOLDER: Final = Path("/dev/shm")  # noqa: S108 - where Linux keeps shared memory
_PREFIX: Final = "circumplex-crops"


class SharedMemoryFull(Exception):
    """There is no room for shared memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedRegion:
    """Mapped shared memory. key: its name for shm_open, with a slash."""

    key: str
    buffer: mmap.mmap
    path: Path

    @property
    def size_bytes(self) -> int:
        """Size of the region."""
        return len(self.buffer)

    def close(self) -> None:
        """Unmap it; other processes that have mapped it keep it."""
        self.buffer.close()

    def unlink(self) -> None:
        """Remove its name: nobody else can open it any more."""
        self.path.unlink(missing_ok=True)


def allocate_region(size_bytes: int, folder: Path = SHARED_MEMORY_FOLDER) -> SharedRegion:
    """Allocate every page of a new region, and map it.

    Regions whose process was killed before it could unlink them are removed.

    Raises: SharedMemoryFull.
    """
    _remove_regions_of_dead_processes(folder)
    path = folder / f"{_PREFIX}-{os.getpid()}-{secrets.token_hex(4)}"
    handle = -1
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.posix_fallocate(handle, 0, size_bytes)
        return SharedRegion(key=f"/{path.name}", buffer=mmap.mmap(handle, size_bytes), path=path)
    except OSError as error:
        path.unlink(missing_ok=True)
        detail = f"{size_bytes} bytes in {folder}: {error.strerror}"
        raise SharedMemoryFull(detail) from error
    finally:
        if handle >= 0:
            os.close(handle)


def _remove_regions_of_dead_processes(folder: Path) -> None:
    for path in folder.glob(f"{_PREFIX}-*"):
        owner = path.name.removeprefix(f"{_PREFIX}-").partition("-")[0]
        if not Path("/proc", owner).exists():
            path.unlink(missing_ok=True)
