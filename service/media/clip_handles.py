"""Where a clip's bytes come from: a path, or handles where nothing can be opened any more."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator, Sequence
from pathlib import Path

from service.errors import ClipNotMedia, ClipTooLarge


class ClipHandles:
    """A clip as open handles, one for each time that it is opened: each has its own position."""

    def __init__(self, handles: Sequence[int]) -> None:
        self._unused = list(handles)
        self.shared_handle = handles[0]
        """For reading at given positions only."""

    def take_handle(self) -> int:
        """The next handle. Raises: IndexError: the clip is opened more often than foreseen."""
        return self._unused.pop(0)


ClipSource = Path | ClipHandles
"""What lies there whole; a clip that is still coming is an Inlet."""


@contextlib.contextmanager
def open_clip_handles(clip: Path, *, handles: int, max_bytes: int) -> Generator[list[int]]:
    """Open a clip for a child that cannot, so many times, read-only.

    Raises: ClipNotMedia: no regular file, or not to be read; ClipTooLarge.
    """
    with contextlib.ExitStack() as held:
        opened = [held.enter_context(_open(clip)) for _ in range(handles)]
        facts = os.fstat(opened[0])
        if not stat.S_ISREG(facts.st_mode):
            raise ClipNotMedia("The clip is not a regular file")
        if facts.st_size > max_bytes:
            raise ClipTooLarge()
        yield opened


@contextlib.contextmanager
def open_handle(clip: ClipSource) -> Generator[int]:
    """A handle at the clip's first byte that nobody else moves."""
    if isinstance(clip, ClipHandles):
        yield clip.take_handle()
    else:
        with _open(clip) as handle:
            yield handle


@contextlib.contextmanager
def open_positional_handle(clip: ClipSource) -> Generator[int]:
    """A handle for reading at given positions."""
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
