"""Clips and results in a folder, behind the same library that speaks to S3, GCS and Azure."""

from __future__ import annotations

import asyncio
import errno
import logging
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore

from service.errors import StoreUnavailable

CHUNK_BYTES: Final = 2**20
WRITES_IN_FLIGHT: Final = 2
PARTIAL_NAME: Final = re.compile(r".+#\d+")
"""How LocalStore names the file of a blob that is not whole yet; no key of ours looks like it."""
ABANDONED_SECONDS: Final = 3600.0
"""A partial file that nobody has written to for so long has lost its writer. Files grow by whole
chunks, so a shorter time could take the file from under a slow upload."""
SWEEP_SECONDS: Final = 600.0

log = logging.getLogger(__name__)


class FolderStore:
    """A domain.ports.Store in a local folder; the folder is created when first written to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._opened: LocalStore | None = None

    async def put(self, key: str, content: AsyncIterator[bytes]) -> int:
        """Write all of `content`, or nothing: the blob appears under its key when it is whole.

        At most a few chunks are in memory. What `content` raises is raised again, as it was.
        """
        counted = _Counted(content)
        try:
            with _translated(key):
                await obstore.put_async(
                    self._blobs(),
                    key,
                    counted.chunks(),
                    chunk_size=CHUNK_BYTES,
                    max_concurrency=WRITES_IN_FLIGHT,
                )
        except asyncio.CancelledError:
            await counted.stop()
            raise
        except Exception:
            if counted.failure is not None:
                raise counted.failure from None
            raise
        return counted.size_bytes

    async def get(self, key: str) -> AsyncIterator[bytes]:
        """Stream a blob; raises KeyError where there is none, before the first byte."""
        with _translated(key):
            found = await obstore.get_async(self._blobs(), key)
        return _stream(found, key)

    @asynccontextmanager
    async def open_file(self, key: str) -> AsyncGenerator[Path]:
        """The blob's own file: read only, please."""
        with _translated(key):
            await obstore.head_async(self._blobs(), key)
        yield self._folder / key

    async def delete(self, key: str) -> None:
        """Remove a blob; no error where there is none."""
        with _translated(key):
            try:
                await obstore.delete_async(self._blobs(), key)
            except FileNotFoundError:
                return

    async def is_ready(self) -> bool:
        """Whether a blob can be written now, tried by writing one."""
        key = f"ready/{uuid4().hex}"
        try:
            with _translated(key):
                await obstore.put_async(self._blobs(), key, b"ready")
            await self.delete(key)
        except StoreUnavailable:
            return False
        return True

    @asynccontextmanager
    async def kept_tidy(self) -> AsyncGenerator[None]:
        """Sweep now and every ten minutes, for as long as the context lasts."""
        sweeping = asyncio.create_task(self._sweep_forever(), name="store sweep")
        try:
            yield
        finally:
            sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await sweeping

    async def sweep(self) -> int:
        """Remove what killed writers left half-written; returns how many files.

        Safe beside the writers and sweepers of other processes.
        """
        return await asyncio.to_thread(_remove_abandoned, self._folder)

    async def _sweep_forever(self) -> None:
        while True:
            try:
                if found := await self.sweep():
                    log.info("removed %d partial files that nobody writes to", found)
            except OSError as error:
                log.warning("partial files cannot be swept: %s", error)
            await asyncio.sleep(SWEEP_SECONDS)

    def _blobs(self) -> LocalStore:
        if self._opened is None or not self._folder.is_dir():
            self._opened = LocalStore(self._folder, mkdir=True)
        return self._opened


class _Counted:
    """Passes content on; remembers how much it was, and what broke it."""

    def __init__(self, content: AsyncIterator[bytes]) -> None:
        self._content = content
        self.size_bytes = 0
        self.failure: Exception | None = None
        self._reading: asyncio.Task[Any] | None = None

    async def chunks(self) -> AsyncGenerator[bytes]:
        try:
            while True:
                self._reading = asyncio.current_task()  # the library reads in tasks of its own
                chunk = await anext(self._content, None)
                if chunk is None:
                    return
                self.size_bytes += len(chunk)
                yield chunk
        except Exception as failure:
            self.failure = failure
            raise

    async def stop(self) -> None:
        """End a read that is under way and that nobody waits for any more."""
        if self._reading is not None and not self._reading.done():
            self._reading.cancel()
            await asyncio.wait([self._reading])


def _remove_abandoned(folder: Path) -> int:
    found = 0
    for path in folder.rglob("*#*"):
        with suppress(FileNotFoundError):  # finished, or swept by another
            age_seconds = time.time() - path.stat().st_mtime
            if PARTIAL_NAME.fullmatch(path.name) and age_seconds > ABANDONED_SECONDS:
                path.unlink()
                found += 1
    return found


async def _stream(found: obstore.GetResult, key: str) -> AsyncGenerator[bytes]:
    with _translated(key):
        async for chunk in found.stream(min_chunk_size=CHUNK_BYTES):
            yield bytes(chunk)


@contextmanager
def _translated(key: str) -> Generator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise KeyError(key) from error
    except (BaseError, OSError) as error:
        raise StoreUnavailable(_reason(error)) from error


def _reason(error: Exception) -> str:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    full = full or "No space left" in str(error)
    return "the blob store is full" if full else "the blob store cannot be written or read"
