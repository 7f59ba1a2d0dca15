"""Files that are whole or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def replace_file(target: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `target`, bring it to the disk, then put it in its place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".part-") as folder:
        part = Path(folder) / target.name
        write(part)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(target)


def replace_text(target: Path, text: str) -> None:
    """As `replace_file`, with this text."""
    replace_file(target, lambda part: part.write_text(text, encoding="utf-8"))
