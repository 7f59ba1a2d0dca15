"""A clip on its way to the service."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

CHUNK_BYTES: Final = 2**18

OnUpload = Callable[[int, int], None]
"""Called with the bytes sent and the clip's bytes."""


def build_headers(clip: Path, idempotency_key: str) -> dict[bytes, bytes]:
    """What is told of a clip before its bytes; `key` is its submission's idempotency key."""
    media_type, _ = mimetypes.guess_type(clip.name)
    if media_type is None or not media_type.startswith(("video/", "audio/")):
        media_type = "application/octet-stream"
    name = clip.name.replace("\\", "_").replace('"', "_")
    return {
        b"Content-Type": media_type.encode(),
        b"Content-Length": str(clip.stat().st_size).encode(),
        b"Content-Disposition": f'attachment; filename="{name}"'.encode(errors="replace"),
        b"Idempotency-Key": idempotency_key.encode(),
    }


def iter_chunks(clip: Path, on_upload: OnUpload | None) -> Iterator[bytes]:
    """The clip's bytes, as they are sent."""
    size, sent = clip.stat().st_size, 0
    with clip.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
            sent += len(chunk)
            if on_upload is not None:
                on_upload(sent, size)
