"""Bucket store: blobs in an S3-compatible bucket."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import urlsplit

import obstore
from obstore.store import S3Store

from service.blobstore.folder import measure_free_bytes
from service.blobstore.object_store import ObjectBlobStore, read_chunks, write_errors_translated
from service.errors import StoreFull, StoreUnavailable

if TYPE_CHECKING:
    from obstore.store import S3Config

_PART_BYTES: Final = 8 * 2**20
"""S3 accepts parts from 5 MiB and at most 10,000 of them: 78 GiB."""
_CONNECT_TIMEOUT_SECONDS: Final = 3.0
_TRANSFER_TIMEOUT: Final = timedelta(days=7)
"""A result may be read slowly; stalled transfers are ended by the read timeout."""
_MAX_RETRIES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketConfig:
    """Location of a bucket; its credentials come from the environment (`AWS_*`)."""

    name: str
    prefix: str = ""
    endpoint: str = ""
    region: str = ""
    is_virtual_hosted: bool = False
    is_plain_http_allowed: bool = False
    timeout_seconds: float = 20.0


class BucketStore(ObjectBlobStore):
    """A domain.ports.BlobStore in a bucket.

    Failed uploads are aborted. Uploads of killed processes are left to the bucket's lifecycle
    rule: obstore cannot list them.
    """

    def __init__(self, bucket: BucketConfig, scratch_dir: Path | None = None) -> None:
        """scratch_dir: for copies of clips; None: the system's temporary folder."""
        super().__init__(part_bytes=_PART_BYTES, timeout_seconds=3 * bucket.timeout_seconds)
        self._bucket = bucket
        self._scratch_dir = scratch_dir or Path(tempfile.gettempdir())
        self._store: S3Store | None = None

    @asynccontextmanager
    async def open_file(self, key: str) -> AsyncGenerator[Path]:
        """Open a copy in an unlinked file, which ends with this process."""
        found = await self._get_object(key)
        size_bytes = found.meta["size"]
        with write_errors_translated():
            copy = await asyncio.to_thread(_create_unlinked_file, self._scratch_dir, size_bytes)
        with copy:
            await _copy_blob(copy, found, key)
            yield Path(f"/proc/self/fd/{copy.fileno()}")

    async def measure_free_bytes(self) -> int | None:
        """Return None: a bucket does not tell."""
        return None

    async def check_free_space(self, size_bytes: int) -> None:
        """Do nothing: buckets do not report free space; `store_budget_bytes` is the limit."""

    async def sweep(self) -> int:
        """Do nothing: see the class."""
        return 0

    def _open_store(self) -> S3Store:
        if self._store is None:
            self._store = _create_store(self._bucket)
        return self._store


def _create_store(bucket: BucketConfig) -> S3Store:
    timeout = timedelta(seconds=bucket.timeout_seconds)
    config: S3Config = {
        "virtual_hosted_style_request": bucket.is_virtual_hosted,
        "disable_bulk_delete": True,  # not every server supports it
    }
    if bucket.endpoint:
        config["endpoint"] = _build_endpoint(bucket)
        _reach_loopback_directly(config["endpoint"])
    if bucket.region:
        config["region"] = bucket.region
    return S3Store(
        bucket.name,
        prefix=bucket.prefix or None,
        config=config,
        client_options={
            "allow_http": bucket.is_plain_http_allowed,
            "connect_timeout": timedelta(
                seconds=min(_CONNECT_TIMEOUT_SECONDS, bucket.timeout_seconds)
            ),
            "read_timeout": timeout,
            "timeout": _TRANSFER_TIMEOUT,
        },
        retry_config={"max_retries": _MAX_RETRIES, "retry_timeout": timeout},
    )


def _reach_loopback_directly(endpoint: str) -> None:
    """Exempt an endpoint on this machine from the environment's proxies, which obstore reads."""
    host = urlsplit(endpoint).hostname or ""
    if host != "localhost" and not host.startswith("127.") and host != "::1":
        return
    for name in ("NO_PROXY", "no_proxy"):
        exempt = os.environ.get(name, "")
        if host not in exempt.split(","):
            os.environ[name] = f"{exempt},{host}" if exempt else host


def _build_endpoint(bucket: BucketConfig) -> str:
    """Endpoint for obstore, which expects the bucket's name in a virtual-hosted one."""
    if not bucket.is_virtual_hosted:
        return bucket.endpoint
    parts = urlsplit(bucket.endpoint)
    return parts._replace(netloc=f"{bucket.name}.{parts.netloc}").geturl()


def _create_unlinked_file(folder: Path, size_bytes: int) -> IO[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    if measure_free_bytes(folder) < size_bytes:
        raise StoreFull("the worker has no room for a copy of the clip")
    return tempfile.TemporaryFile(dir=folder)


async def _copy_blob(copy: IO[bytes], found: obstore.GetResult, key: str) -> None:
    async for chunk in read_chunks(found, key):
        with write_errors_translated():
            await asyncio.to_thread(copy.write, chunk)
    with write_errors_translated():
        await asyncio.to_thread(copy.flush)
    if copy.tell() != found.meta["size"]:
        raise StoreUnavailable("the blob store returned only a part of the clip")
