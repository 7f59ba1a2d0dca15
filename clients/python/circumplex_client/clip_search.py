"""Search for clips in files and folders, and the names of their results."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

CLIP_SUFFIXES: Final = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".ts", ".mts", ".m2ts"),
        *(".avi", ".flv", ".mpg", ".mpeg", ".vob", ".wmv", ".asf", ".ogv", ".dv", ".mxf"),
    }
)
"""File names with these suffixes are clips when a folder is searched."""

SIDECAR_PREFIX: Final = "._"
"""Files with these names hold what a Mac cannot store beside a file on other file systems."""
SYSTEM_FOLDERS: Final = frozenset(
    {
        *("trash", "$recycle.bin", "recycler", "recycled", "#recycle", "@recycle"),
        *("network trash folder", "temporary items", "system volume information", "lost+found"),
        *("found.000", "#snapshot", "@recently-snapshot", "@eadir", "__macosx"),
    }
)
"""Folders of trash, snapshots, thumbnails and file systems, of Windows, Mac, Linux and network
storage, in lower case; hidden ones begin with a dot."""
DIGEST_LENGTH: Final = 8


@dataclass(slots=True)
class ClipSearch:
    """Clips found, each with the name of its result, and what was passed over, with the reason."""

    clips: dict[Path, str] = field(default_factory=dict[Path, str])
    passed_over: list[tuple[Path, str]] = field(default_factory=list[tuple[Path, str]])

    def add(self, paths: Iterable[Path]) -> None:
        """Add files, whatever their names, and the clips in folders.

        Links are followed, those to a folder that has been searched excepted. Names of results
        are relative to the folder that was given.
        """
        for path in paths:
            if path.is_dir():
                for clip in self._search(path, set()):
                    self.clips[clip] = clip.relative_to(path).as_posix()
            else:
                self.clips[path] = path.name

    def _search(self, folder: Path, searched: set[tuple[int, int]]) -> Iterator[Path]:
        try:
            state, entries = folder.stat(), sorted(folder.iterdir())
        except OSError as error:
            self.passed_over.append((folder, error.strerror or str(error)))
            return
        if (state.st_dev, state.st_ino) in searched:
            self.passed_over.append((folder, "a link to a folder that is searched already"))
            return
        searched.add((state.st_dev, state.st_ino))
        for path in entries:
            yield from self._classify(path, searched)

    def _classify(self, path: Path, searched: set[tuple[int, int]]) -> Iterator[Path]:
        is_clip_name = path.suffix.lower() in CLIP_SUFFIXES
        try:
            mode = path.stat().st_mode
        except OSError as error:
            if is_clip_name:
                reason = "a broken link" if path.is_symlink() else error.strerror or str(error)
                self.passed_over.append((path, reason))
            return
        if stat.S_ISDIR(mode):
            if path.name.startswith(".") or path.name.lower() in SYSTEM_FOLDERS:
                self.passed_over.append((path, "a hidden folder, or one of the system"))
            else:
                yield from self._search(path, searched)
        elif is_clip_name:
            reason = _find_reason_against(path, mode)
            if reason is None:
                yield path
            else:
                self.passed_over.append((path, reason))


def _find_reason_against(path: Path, mode: int) -> str | None:
    if path.name.startswith(SIDECAR_PREFIX):
        return "a sidecar of a Mac"
    if path.name.startswith("."):
        return "a hidden file"
    return None if stat.S_ISREG(mode) else "no regular file"


def name_result(name: str, suffix: str, max_name_bytes: int) -> str:
    """Return the name of a clip's result, shortened where the file system bears no longer one.

    Args: name: of the clip, with the folders in which it lies; suffix: of the result.
        max_name_bytes: for the last part of the name.
    """
    last = Path(name).name
    result = last + suffix
    if len(os.fsencode(result)) > max_name_bytes:
        digest = hashlib.sha256(os.fsencode(last)).hexdigest()[:DIGEST_LENGTH]
        room = max_name_bytes - len(suffix) - len(digest) - 1
        result = f"{_cut_bytes(last, room)}~{digest}{suffix}"
    return str(Path(name).with_name(result))


def _cut_bytes(text: str, size: int) -> str:
    """Cut a name to `size` bytes, between characters."""
    while len(os.fsencode(text)) > size:
        text = text[:-1]
    return text
