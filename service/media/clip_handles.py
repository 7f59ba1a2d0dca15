"""Clip sources: a path, or open handles for a process that may no longer open files."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator, Sequence
from pathlib import Path

from service.errors import ClipNotMedia, ClipTooLarge


class ClipHandles:
    """A clip as open handles, one for each time that it is read; each has its own position."""

    def __init__(self, handles: Sequence[int]) -> None:
        self._unused = list(handles)
        self.shared_handle = handles[0]
        """Handle for positional reads (`pread`) only."""

    def take_handle(self) -> int:
        """Take the next unused handle. Raises: IndexError: none is left."""
        return self._unused.pop(0)


ClipSource = Path | ClipHandles
"""A complete clip; one that is still arriving is a GrowingFile."""


@contextlib.contextmanager
def open_clip_handles(clip: Path, *, handles: int, max_bytes: int) -> Generator[list[int]]:
    """Open a clip read-only `handles` times, for a process that cannot open files.

    Raises: ClipNotMedia: not a regular file, or not readable; ClipTooLarge.
    """
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(_open(clip)) for _ in range(handles)]
        status = os.fstat(opened[0])
        if not stat.S_ISREG(status.st_mode):
            raise ClipNotMedia("The clip is not a regular file")
        if status.st_size > max_bytes:
            raise ClipTooLarge()
        yield opened


@contextlib.contextmanager
def open_handle(clip: ClipSource) -> Generator[int]:
    """Open a handle at the clip's first byte, with a position of its own."""
    if isinstance(clip, ClipHandles):
        yield clip.take_handle()
    else:
        with _open(clip) as handle:
            yield handle


@contextlib.contextmanager
def open_positional_handle(clip: ClipSource) -> Generator[int]:
    """Open a handle for positional reads (`pread`)."""
    if isinstance(clip, ClipHandles):
        yield clip.shared_handle
    else:
        with _open(clip) as handle:
            yield handle


@contextlib.contextmanager
def _open(clip: Path) -> Generator[int]:
    try:
        handle = os.open(clip, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ClipNotMedia(f"The clip cannot be opened: {error.strerror}") from error
    try:
        yield handle
    finally:
        os.close(handle)
