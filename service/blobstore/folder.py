"""Folder store: blobs as files of a local folder, and the free space below it."""

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

from service.blobstore.object_store import (
    ObjectBlobStore,
    read_errors_translated,
    write_errors_translated,
)
from service.errors import StoreFull

ABANDONED_SECONDS: Final = 3600.0
"""Age from which a partial file counts as abandoned by its writer. Files grow by whole chunks, so
a shorter time could delete the file of a slow upload."""
_PARTIAL_NAME_PATTERN: Final = re.compile(r".+#\d+")
"""Name that LocalStore gives to the file of an incomplete blob; no key of ours matches it."""
_PART_BYTES: Final = 2**18
_TIMEOUT_SECONDS: Final = 30.0
_CACHE_SECONDS: Final = 0.25


class FreeSpace:
    """Free bytes of a folder's file system; the folder need not exist yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._free_bytes = 0
        self._cached_until = 0.0

    async def free_bytes(self) -> int:
        """Free bytes, at most a quarter of a second old. Raises: OSError."""
        if time.monotonic() >= self._cached_until:
            self._free_bytes = await asyncio.to_thread(measure_free_bytes, self._folder)
            self._cached_until = time.monotonic() + _CACHE_SECONDS
        return self._free_bytes


def measure_free_bytes(folder: Path) -> int:
    """Measure the bytes that this user may still write there. Raises: OSError."""
    while not folder.exists():
        folder = folder.parent
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


class FolderStore(ObjectBlobStore):
    """A domain.ports.BlobStore in a local folder, which is created by the first write."""

    def __init__(self, folder: Path, reserve_bytes: int = 0) -> None:
        """reserve_bytes: free space that new clips may not use."""
        super().__init__(part_bytes=_PART_BYTES, timeout_seconds=_TIMEOUT_SECONDS)
        self._folder = folder.absolute()
        self._reserve_bytes = reserve_bytes
        self._free_space = FreeSpace(self._folder)
        self._store: LocalStore | None = None

    @asynccontextmanager
    async def open_file(self, key: str) -> AsyncGenerator[Path]:
        """Open the blob's own file; callers must not write to it."""
        with read_errors_translated(key):
            await obstore.head_async(self._open_store(), key)
        yield self._folder / key

    async def delete_all(self, prefix: str) -> int:
        """Remove every blob under `prefix/`, and the folder itself."""
        count = await super().delete_all(prefix)
        with suppress(OSError):  # it never existed, or has been written to again
            await asyncio.to_thread((self._folder / prefix).rmdir)
        return count

    async def measure_free_bytes(self) -> int:
        """Measure the bytes that new clips may still use, without the reserve."""
        with write_errors_translated():
            return max(await self._free_space.free_bytes() - self._reserve_bytes, 0)

    async def check_free_space(self, size_bytes: int) -> None:
        """Check room for a clip. Raises: StoreFull: it would use the reserve."""
        with write_errors_translated():
            free_bytes = await self._free_space.free_bytes()
        if free_bytes - size_bytes < self._reserve_bytes:
            raise StoreFull("the blob store has no room for the clip")

    async def sweep(self) -> int:
        """Remove the partial files of killed writers; returns their number.

        Safe while other processes write and sweep.
        """
        with write_errors_translated():
            return await asyncio.to_thread(_remove_abandoned, self._folder)

    def _open_store(self) -> LocalStore:
        if self._store is None or not self._folder.is_dir():
            self._store = LocalStore(self._folder, mkdir=True)
        return self._store


def _remove_abandoned(folder: Path) -> int:
    removed = 0
    for path in folder.rglob("*#*"):
        with suppress(FileNotFoundError):  # finished, or swept by another
            age_seconds = time.time() - path.stat().st_mtime
            if _PARTIAL_NAME_PATTERN.fullmatch(path.name) and age_seconds > ABANDONED_SECONDS:
                path.unlink()
                removed += 1
    return removed
