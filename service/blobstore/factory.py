"""Factory of the blob store that the settings select."""

from __future__ import annotations

import atexit
import time
from typing import Final
from urllib.parse import urlsplit

from service.blobstore.folder import FolderStore
from service.blobstore.s3 import BucketConfig, BucketStore
from service.domain.ports import BlobStore
from service.settings import Settings

_THREAD_EXIT_SECONDS: Final = 0.1


def open_store(settings: Settings) -> BlobStore:
    """Open the bucket of `store_url`, else the folder; no I/O before the first call."""
    atexit.unregister(_wait_for_library_threads)
    atexit.register(_wait_for_library_threads)
    if not settings.store_url:
        return FolderStore(settings.store_dir, settings.store_reserve_bytes)
    url = urlsplit(settings.store_url)
    bucket = BucketConfig(
        name=url.netloc,
        prefix=url.path.strip("/"),
        endpoint=settings.store_endpoint,
        region=settings.store_region,
        is_virtual_hosted=settings.store_addressing == "virtual",
        is_plain_http_allowed=settings.store_allow_http,
        timeout_seconds=settings.store_timeout_seconds,
    )
    return BucketStore(bucket, settings.store_scratch_dir)


def _wait_for_library_threads() -> None:
    """Let obstore's threads deliver their last results before the interpreter is finalized.

    A late one aborts the process. Source: PyO3/pyo3-async-runtimes#40.
    """
    time.sleep(_THREAD_EXIT_SECONDS)
