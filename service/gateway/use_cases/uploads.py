"""A clip on its way in, whichever way the client sends it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from service.errors import ClipEmpty, ClipTooLarge

OCTET_STREAM: Final = "application/octet-stream"
MAX_FILENAME_LENGTH: Final = 200
MAX_MEDIA_TYPE_LENGTH: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A clip on its way in. `filename` is what the client says: to show, never to open."""

    filename: str | None
    media_type: str
    content: AsyncIterator[bytes]
    """Raises ClipEmpty, ClipTooLarge, UploadInterrupted or RequestInvalid while it is read."""


def is_clip_media_type(media_type: str) -> bool:
    """Whether a body of this type may be a clip."""
    return media_type == OCTET_STREAM or media_type.startswith(("video/", "audio/"))


def clip_too_large_error(max_bytes: int) -> ClipTooLarge:
    """The error of a clip with more bytes."""
    return ClipTooLarge(f"a clip may have {max_bytes} bytes, and this one has more")


async def limit_size(content: AsyncIterator[bytes], max_bytes: int) -> AsyncGenerator[bytes]:
    """The same content. Raises: ClipTooLarge, ClipEmpty."""
    size_bytes = 0
    async for chunk in content:
        size_bytes += len(chunk)
        if size_bytes > max_bytes:
            raise clip_too_large_error(max_bytes)
        if chunk:
            yield chunk
    if size_bytes == 0:
        raise ClipEmpty


def sanitize_filename(filename: str) -> str | None:
    """The last part of a path in any system's notation, printable, of bounded length."""
    name = PurePosixPath(filename.replace("\\", "/")).name
    printable = "".join(letter for letter in name if letter.isprintable()).strip()
    return printable[:MAX_FILENAME_LENGTH] or None
