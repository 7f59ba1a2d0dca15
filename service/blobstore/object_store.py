"""Base class of the blob stores: put, get, delete and list through obstore.

A blob is stored in full or not at all. Errors of obstore become StoreFull, StoreUnavailable or
KeyError.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Generator
from contextlib import contextmanager
from typing import Any, Final
from uuid import uuid4

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import ObjectStore

from service.domain.ports import Blob
from service.errors import ServiceError, StoreFull, StoreUnavailable

_CHUNK_BYTES: Final = 2**20
_LIST_PAGE_SIZE: Final = 1000
_FULL_ERRNOS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_PATTERN: Final = re.compile(
    r"No space left|[Qq]uota exceeded|File too large|os error (28|122|27)\b"
    r"|<Code>(XMinioStorageFull|QuotaExceeded|EntityTooLarge|InsufficientCapacity)</Code>"
)
_CODE_PATTERN: Final = re.compile(r"<Code>(\w{1,64})</Code>")
_QUERY_PATTERN: Final = re.compile(r"\?\S*")
_MAX_REASON_CHARS: Final = 300
log = logging.getLogger(__name__)
_PARTS_IN_FLIGHT: Final = 2
_ROLLBACK_SECONDS: Final = 10.0


class ObjectBlobStore(ABC):
    """Blobs by key in one of obstore's stores."""

    def __init__(self, *, part_bytes: int, timeout_seconds: float) -> None:
        """part_bytes: size of one request; timeout_seconds: of requests without blob content."""
        self._part_bytes = part_bytes
        self._timeout_seconds = timeout_seconds

    @abstractmethod
    def _open_store(self) -> ObjectStore: ...

    async def put(self, key: str, content: AsyncIterator[bytes]) -> int:
        """Write `content`; the blob appears under its key once it is complete."""
        with write_errors_translated():
            store = self._open_store()
        return await put_atomically(store, key, content, part_bytes=self._part_bytes)

    async def get(self, key: str) -> AsyncIterator[bytes]:
        """Stream a blob. Raises: KeyError: there is none, before the first byte."""
        return read_chunks(await self._get_object(key), key)

    async def delete(self, key: str) -> None:
        """Remove a blob; no error where there is none."""
        try:
            with read_errors_translated(key):
                async with asyncio.timeout(self._timeout_seconds):
                    await obstore.delete_async(self._open_store(), key)
        except KeyError:
            return

    async def delete_all(self, prefix: str) -> int:
        """Remove every blob under `prefix/`; returns their number."""
        keys = [blob.key async for blob in self.list(prefix)]
        for key in keys:
            await self.delete(key)
        return len(keys)

    async def list(self, prefix: str) -> AsyncGenerator[Blob]:
        """Yield every complete blob under `prefix/`, page by page, unordered."""
        with read_errors_translated(prefix):
            store = self._open_store()
            stream = obstore.list(store, prefix, chunk_size=_LIST_PAGE_SIZE)  # pyright: ignore[reportUnknownMemberType]  # its other overloads need pyarrow
            pages = aiter(stream)
            while True:
                async with asyncio.timeout(self._timeout_seconds):
                    page = await anext(pages, None)
                if page is None:
                    return
                for each in page:
                    yield Blob(
                        key=each["path"],
                        size_bytes=each["size"],
                        modified_at=each["last_modified"].timestamp(),
                    )

    async def is_ready(self) -> bool:
        """Return whether a blob can be written now; writes one and deletes it."""
        key = f"ready/{uuid4().hex}"
        try:
            with write_errors_translated():
                async with asyncio.timeout(self._timeout_seconds):
                    await obstore.put_async(self._open_store(), key, b"ready", use_multipart=False)
            await self.delete(key)
        except ServiceError:
            return False
        return True

    async def _get_object(self, key: str) -> obstore.GetResult:
        with read_errors_translated(key):
            async with asyncio.timeout(self._timeout_seconds):
                return await obstore.get_async(self._open_store(), key)


async def read_chunks(found: obstore.GetResult, key: str) -> AsyncGenerator[bytes]:
    """Yield the bytes of an opened blob. Raises: StoreUnavailable: the store fails meanwhile."""
    with read_errors_translated(key):
        async for chunk in found.stream(min_chunk_size=_CHUNK_BYTES):
            yield bytes(chunk)


@contextmanager
def read_errors_translated(key: str) -> Generator[None]:
    """Translate errors of reading a blob.

    Raises: KeyError: there is no such blob; StoreUnavailable: it cannot be read.
    """
    try:
        yield
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error):
            raise _translate(error) from error
        raise KeyError(key) from error
    except (BaseError, OSError) as error:
        raise _translate(error) from error


@contextmanager
def write_errors_translated() -> Generator[None]:
    """Translate errors of writing. Raises: StoreFull, StoreUnavailable."""
    try:
        yield
    except (BaseError, OSError) as error:
        raise _translate(error) from error


def _translate(error: Exception) -> ServiceError:
    """Log the reason and return an error without it, which clients may see."""
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        log.error("the blob store refuses these credentials or this access: %s", _reason(error))
    else:
        log.warning("the blob store fails: %s", _reason(error))
    full = isinstance(error, OSError) and error.errno in _FULL_ERRNOS
    if full or _FULL_PATTERN.search(str(error)):
        return StoreFull("the blob store is full")
    return StoreUnavailable("the blob store cannot be written or read")


def _reason(error: Exception) -> str:
    """One line without possible credentials: no URL query, no response body."""
    text = str(error) or type(error).__name__
    code = _CODE_PATTERN.search(text)
    line = _QUERY_PATTERN.sub("", text.partition("\n")[0].partition("<")[0]).strip()
    return line[:_MAX_REASON_CHARS] + (f" [{code[1]}]" if code else "")


async def put_atomically(
    store: ObjectStore, key: str, content: AsyncIterator[bytes], *, part_bytes: int
) -> int:
    """Write `content` under its key once it is complete; returns its size in bytes.

    Content of one part takes one request. At most a few parts are in memory.
    Raises: StoreFull, StoreUnavailable; errors of `content` are raised unchanged.
    """
    upload = _UploadStream(content)
    start = await upload.read_head(part_bytes)
    with write_errors_translated():
        put_task = asyncio.ensure_future(_start_put(store, key, start, upload, part_bytes))
        try:
            await asyncio.shield(put_task)
        except asyncio.CancelledError:
            await upload.stop()
            await _roll_back(store, key, put_task)
            raise
        except Exception:
            if upload.error is None:
                raise
    if upload.error is not None:
        raise upload.error
    return upload.size_bytes


def _start_put(
    store: ObjectStore, key: str, start: bytes, content: _UploadStream, part_bytes: int
) -> Awaitable[Any]:
    if content.is_exhausted:
        return obstore.put_async(store, key, start, use_multipart=False)
    return obstore.put_async(
        store,
        key,
        content.chunks(),
        use_multipart=True,
        chunk_size=part_bytes,
        max_concurrency=_PARTS_IN_FLIGHT,
    )


async def _roll_back(store: ObjectStore, key: str, put_task: asyncio.Future[Any]) -> None:
    """Wait for the library to abort its upload; delete the blob where it was complete already."""
    await asyncio.wait([put_task], timeout=_ROLLBACK_SECONDS)
    if not put_task.done():
        log.warning("a partial upload of %s may remain in the blob store", key)
        put_task.cancel()
    elif put_task.exception() is None:
        await asyncio.wait([asyncio.ensure_future(obstore.delete_async(store, key))])


class _UploadStream:
    """Content on its way into a store; records its size and its error."""

    def __init__(self, content: AsyncIterator[bytes]) -> None:
        self._content = content
        self._head = b""
        self._is_stopped = False
        self._read_task: asyncio.Task[Any] | None = None
        self.size_bytes = 0
        self.is_exhausted = False
        self.error: Exception | None = None

    async def read_head(self, min_bytes: int) -> bytes:
        """Read at least this many first bytes, or all where there are fewer."""
        start = bytearray()
        while len(start) < min_bytes and (chunk := await self._read_next()) is not None:
            start += chunk
        self._head = bytes(start)
        return self._head

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Yield all content, the head included."""
        try:
            yield self._head
            self._head = b""
            while not self._is_stopped:
                self._read_task = asyncio.current_task()  # obstore reads in tasks of its own
                chunk = await self._read_next()
                if chunk is None:
                    return
                yield chunk
        except Exception as error:
            self.error = error
            raise
        raise asyncio.CancelledError

    async def stop(self) -> None:
        """Cancel the current read and refuse further ones."""
        self._is_stopped = True
        if self._read_task is not None and not self._read_task.done():
            self._read_task.cancel()
            await asyncio.wait([self._read_task])

    async def _read_next(self) -> bytes | None:
        chunk = await anext(self._content, None)
        self.is_exhausted = chunk is None
        self.size_bytes += len(chunk or b"")
        return chunk
