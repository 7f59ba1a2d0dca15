"""How much room a file system has, asked seldom.

Clips and results in a folder.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import obstore
from obstore.store import LocalStore

from service.blobstore.base import ObjectBlobStore
from service.blobstore.error_translation import read_errors_translated, write_errors_translated
from service.errors import StoreFull

_CACHE_SECONDS: Final = 0.25


class FreeSpace:
    """The free bytes below a folder, whether it exists yet or not."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._free_bytes = 0
        self._cached_until = 0.0

    async def free_bytes(self) -> int:
        """As of a quarter of a second ago at most. Raises: OSError."""
        if time.monotonic() >= self._cached_until:
            self._free_bytes = await asyncio.to_thread(measure_free_bytes, self._folder)
            self._cached_until = time.monotonic() + _CACHE_SECONDS
        return self._free_bytes


def measure_free_bytes(folder: Path) -> int:
    """What this user may still write there. Raises: OSError."""
    while not folder.exists():
        folder = folder.parent
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


ABANDONED_SECONDS: Final = 3600.0
"""A partial file that nobody has written to for so long has lost its writer. Files grow by whole
chunks, so a shorter time could take the file from under a slow upload."""
_PARTIAL_NAME_PATTERN: Final = re.compile(r".+#\d+")
"""How LocalStore names the file of a blob that is not whole yet; no key of ours looks like it."""
_PART_BYTES: Final = 2**18
_TIMEOUT_SECONDS: Final = 30.0


class FolderStore(ObjectBlobStore):
    """A domain.ports.Store in a local folder; the folder is created when first written to."""

    def __init__(self, folder: Path, reserve_bytes: int = 0) -> None:
        """reserve_bytes: free space that is kept from new clips."""
        super().__init__(part_bytes=_PART_BYTES, timeout_seconds=_TIMEOUT_SECONDS)
        self._folder = folder.absolute()
        self._reserve_bytes = reserve_bytes
        self._free_space = FreeSpace(self._folder)
        self._store: LocalStore | None = None

    @asynccontextmanager
    async def open_file(self, key: str) -> AsyncGenerator[Path]:
        """The blob's own file: read only, please."""
        with read_errors_translated(key):
            await obstore.head_async(self._open_store(), key)
        yield self._folder / key

    async def delete_all(self, prefix: str) -> int:
        """Remove every blob under `prefix/`, and the folder itself."""
        count = await super().delete_all(prefix)
        with suppress(OSError):  # it was never there, or somebody writes to it again
            await asyncio.to_thread((self._folder / prefix).rmdir)
        return count

    async def check_free_space(self, size_bytes: int) -> None:
        """Raises StoreFull where a clip of this size would take from the reserve."""
        with write_errors_translated():
            free_bytes = await self._free_space.free_bytes()
        if free_bytes - size_bytes < self._reserve_bytes:
            raise StoreFull("the blob store has no room for the clip")

    async def sweep(self) -> int:
        """Remove what killed writers left half-written; returns how many files.

        Safe beside the writers and sweepers of other processes.
        """
        with write_errors_translated():
            return await asyncio.to_thread(_remove_abandoned, self._folder)

    def _open_store(self) -> LocalStore:
        if self._store is None or not self._folder.is_dir():
            self._store = LocalStore(self._folder, mkdir=True)
        return self._store


def _remove_abandoned(folder: Path) -> int:
    found = 0
    for path in folder.rglob("*#*"):
        with suppress(FileNotFoundError):  # finished, or swept by another
            age_seconds = time.time() - path.stat().st_mtime
            if _PARTIAL_NAME_PATTERN.fullmatch(path.name) and age_seconds > ABANDONED_SECONDS:
                path.unlink()
                found += 1
    return found
