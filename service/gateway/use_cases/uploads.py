"""Incoming clips: their description, and the limits of their size and transfer rate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, TypeVar

from service.domain.options import SubmissionOptions
from service.errors import ClipEmpty, ClipTooLarge, GatewayDraining, UploadInterrupted
from service.gateway.lifecycle import ShutdownPhase, ShutdownState
from service.settings import Settings

OCTET_STREAM: Final = "application/octet-stream"
MAX_FILENAME_LENGTH: Final = 200
MAX_MEDIA_TYPE_LENGTH: Final = 100
OVERDUE_POLL_SECONDS: Final = 0.5
"""Pause between two checks whether the drain period of the gateway is over."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """An incoming clip. `filename` is the client's: for display, never for opening a file."""

    filename: str | None
    media_type: str
    content: AsyncIterator[bytes]
    """Bytes; reading raises ClipEmpty, ClipTooLarge, UploadInterrupted, FormTooLarge or
    RequestInvalid."""
    read_options: Callable[[], SubmissionOptions] | None = None
    """Returns the options, those beside the clip included: at any time those that have been read;
    all, once `content` has been read without an error. None: there are none beside the clip."""


def is_clip_media_type(media_type: str) -> bool:
    """Return True if a body of this media type may be a clip."""
    return media_type == OCTET_STREAM or media_type.startswith(("video/", "audio/"))


def clip_too_large_error(max_bytes: int) -> ClipTooLarge:
    """The error of a clip with more than `max_bytes` bytes."""
    return ClipTooLarge(f"the clip has more than the {max_bytes} bytes that are allowed")


async def limit_size(content: AsyncIterator[bytes], max_bytes: int) -> AsyncGenerator[bytes]:
    """Pass the content through, counting its bytes. Raises: ClipTooLarge, ClipEmpty."""
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


class UploadRateGuard:
    """Idle time-out and minimum transfer rate of one upload.

    Only the time spent waiting for the client counts, not the time that storing takes.
    """

    def __init__(self, settings: Settings, shutdown: ShutdownState) -> None:
        self._idle_seconds = settings.upload_idle_seconds
        self._min_rate = settings.upload_min_bytes_per_second
        self._shutdown = shutdown
        self._waited_seconds = 0.0
        self._received_bytes = 0

    async def wait_for(
        self, read: Callable[[], Awaitable[T]], size_of: Callable[[T], int | None]
    ) -> T:
        """Read the next part of the upload.

        Args: size_of: the bytes of a part, or None if it is the last one.
        Raises: UploadInterrupted, GatewayDraining.
        """
        started = time.monotonic()
        part = await self._read_next(read)
        size_bytes = size_of(part)
        self._waited_seconds += time.monotonic() - started
        self._received_bytes += size_bytes or 0
        if size_bytes is not None and self._waited_seconds >= self._idle_seconds:
            self._check_rate()
        return part

    async def _read_next(self, read: Callable[[], Awaitable[T]]) -> T:
        deadline = time.monotonic() + self._idle_seconds
        read_task = asyncio.ensure_future(read())
        try:
            while (remaining := deadline - time.monotonic()) > 0:
                if self._shutdown.has_reached(ShutdownPhase.OVERDUE):
                    raise GatewayDraining("the upload did not end within the drain period")
                seconds = min(remaining, OVERDUE_POLL_SECONDS)
                done, _ = await asyncio.wait({read_task}, timeout=seconds)
                if done:
                    return read_task.result()
        finally:
            read_task.cancel()
        raise UploadInterrupted(f"no data arrived for {self._idle_seconds:g} s")

    def _check_rate(self) -> None:
        """Check one span of `upload_idle_seconds` of waiting, and start the next one."""
        if self._received_bytes < self._min_rate * self._waited_seconds:
            raise UploadInterrupted(
                f"{self._received_bytes} bytes arrived in {self._waited_seconds:.0f} s; "
                f"the minimum is {self._min_rate:g} bytes/s"
            )
        self._waited_seconds, self._received_bytes = 0.0, 0
