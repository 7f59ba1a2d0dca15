"""Files that are written beside their target and replace it when they are complete."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


class PartialFiles:
    """The files that a process is writing; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._paths: set[Path] = set()
        self._is_closed = False

    @contextmanager
    def open(self, target: Path) -> Generator[BinaryIO]:
        """Yield a file that replaces `target` unless an exception is raised.

        It has a short hidden name of its own, so that two runs never write to one file and the
        target's name may be as long as the file system allows.

        Raises: OSError; InterruptedError after `discard_all`.
        """
        partial = target.with_name(f".circumplex-{secrets.token_hex(8)}.part")
        with self._lock:
            self._require_open()
            file = partial.open("xb")
            self._paths.add(partial)
        try:
            with file:
                yield file
            with self._lock:
                self._require_open()
                partial.replace(target)
        finally:
            with self._lock:
                partial.unlink(missing_ok=True)
                self._paths.discard(partial)

    def discard_all(self) -> None:
        """Remove every file under way, and refuse new ones."""
        with self._lock:
            self._is_closed = True
            for partial in self._paths:
                partial.unlink(missing_ok=True)

    def _require_open(self) -> None:
        if self._is_closed:
            raise InterruptedError("the client has been closed")
