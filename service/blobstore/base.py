"""What every store does alike, through the library that speaks to all of them."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final
from uuid import uuid4

import obstore
from obstore.store import ObjectStore

from service.blobstore.atomic_put import put_atomically
from service.blobstore.error_translation import read_errors_translated, write_errors_translated
from service.domain.ports import Blob
from service.errors import ServiceError

_CHUNK_BYTES: Final = 2**20
_LIST_PAGE_SIZE: Final = 1000


class ObjectBlobStore(ABC):
    """Blobs by key, behind one of the library's stores."""

    def __init__(self, *, part_bytes: int, timeout_seconds: float) -> None:
        """part_bytes: in one request; patience_seconds: for what moves no blob's content."""
        self._part_bytes = part_bytes
        self._timeout_seconds = timeout_seconds

    @abstractmethod
    def _open_store(self) -> ObjectStore: ...

    async def put(self, key: str, content: AsyncIterator[bytes]) -> int:
        """Write all of `content`, or nothing: the blob appears under its key when it is whole."""
        with write_errors_translated():
            store = self._open_store()
        return await put_atomically(store, key, content, part_bytes=self._part_bytes)

    async def get(self, key: str) -> AsyncIterator[bytes]:
        """Stream a blob; raises KeyError where there is none, before the first byte."""
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
        """Remove every blob under `prefix/`; returns how many there were."""
        keys = [blob.key async for blob in self.list(prefix)]
        for key in keys:
            await self.delete(key)
        return len(keys)

    async def list(self, prefix: str) -> AsyncGenerator[Blob]:
        """Every whole blob under `prefix/`, page by page, in no order."""
        with read_errors_translated(prefix):
            pages = aiter(obstore.list(self._open_store(), prefix, chunk_size=_LIST_PAGE_SIZE))
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
        """Whether a blob can be written now, tried by writing one."""
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
    """A found blob's bytes; a store that goes away meanwhile raises StoreUnavailable."""
    with read_errors_translated(key):
        async for chunk in found.stream(min_chunk_size=_CHUNK_BYTES):
            yield bytes(chunk)
