"""Output files: checked before the work, complete or absent after it."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from service.errors import OutputNotWritable


@contextmanager
def open_output(path: Path) -> Generator[BinaryIO]:
    """Yield a file whose content replaces `path` when the context ends without an exception.

    The folder is created. The content is written beside the target under a short hidden name; a
    link keeps its name and its target is replaced; devices and pipes are written to directly.

    Raises: OutputNotWritable: at once if the folder cannot be written to or the name cannot be
        used; at the end if the disk is full.
    """
    with _errors_translated(path):
        target = Path(os.path.realpath(path))
        if _is_special(target):
            with target.open("wb") as file:
                yield file
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.parent / f".circumplex-{secrets.token_hex(8)}.part"
        file = partial.open("xb")
    try:
        with _errors_translated(path):
            with file:
                yield file
            partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _is_special(target: Path) -> bool:
    """Check for a device or pipe. Raises: OSError: a folder, or a name that is too long."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError("it is a folder")
    return not stat.S_ISREG(mode)


@contextmanager
def _errors_translated(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise OutputNotWritable(f"{path} cannot be written: {error.strerror or error}") from error
