"""Digests of the files that a recording is read from, which every cache is keyed by.

A digest is of the content: names, folders and times do not matter to it. It is stored beside the
caches with the size, times and inode of every file, and computed again once one of those differs.
Crops are decoded strictly on the way, so that a broken one is found before a training.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np

from training.data.crops import verify_crop
from training.data.errors import CropUnreadable, DatasetChanged, VideoUnreadable
from training.data.files import replace_text
from training.data.layout import Recording

_FORMAT: Final = 1
_SETTLE_SECONDS: Final = 2.0
"""A file that changed this recently may change again within one step of its file system's clock."""
_READER_THREADS: Final = 4


class SourceDigests:
    """Digests of crops and videos, stored in a folder; several processes may share it."""

    def __init__(self, folder: Path, *, settle_seconds: float = _SETTLE_SECONDS) -> None:
        self._folder = folder
        self._settle_seconds = settle_seconds
        self._known: dict[str, tuple[str, str]] = {}
        """Status and digest of what this process has digested."""

    def digest_crops(self, recording: Recording) -> str:
        """Digest the crops of all rows. Raises: CropUnreadable, DatasetChanged."""
        rows = np.flatnonzero(recording.has_face).tolist()
        files = [recording.crop_file(row) for row in rows]

        def read_content() -> str:
            digest = hashlib.sha256()
            with ThreadPoolExecutor(_READER_THREADS) as threads:
                for row, content in zip(rows, threads.map(_digest_crop, files), strict=True):
                    digest.update(row.to_bytes(8) + content)
            return digest.hexdigest()

        extent = f"{len(recording)} {rows}"
        return self._digest(f"{recording.name}.crops", files, extent, read_content)

    def digest_video(self, recording: Recording) -> str | None:
        """Digest the video; None without one. Raises: VideoUnreadable, DatasetChanged."""
        video = recording.video
        if video is None:
            return None
        return self._digest(_name_video(recording), [video], "", lambda: _digest_video(video))

    def check_unchanged(self, recording: Recording) -> None:
        """Check that the files are still those that were digested. Raises: DatasetChanged."""
        rows = np.flatnonzero(recording.has_face).tolist()
        crops = [recording.crop_file(row) for row in rows]
        self._check_status(f"{recording.name}.crops", crops, f"{len(recording)} {rows}")
        if recording.video is not None:
            self._check_status(_name_video(recording), [recording.video], "")

    def _digest(
        self, name: str, files: Sequence[Path], extent: str, read_content: Callable[[], str]
    ) -> str:
        status, newest = _read_status(files, extent)
        stored = self._known.get(name) or self._read_stored(name)
        if stored is None or stored[0] != status:
            is_settled = newest < time.time() - self._settle_seconds
            stored = (status, read_content())
            if _read_status(files, extent)[0] != status:
                raise DatasetChanged(name)
            if is_settled:
                entry = {"format": _FORMAT, "status": status, "content": stored[1]}
                replace_text(self._folder / f"{name}.json", json.dumps(entry) + "\n")
        self._known[name] = stored
        return stored[1]

    def _check_status(self, name: str, files: Sequence[Path], extent: str) -> None:
        if name in self._known and self._known[name][0] != _read_status(files, extent)[0]:
            raise DatasetChanged(name)

    def _read_stored(self, name: str) -> tuple[str, str] | None:
        """Read a stored status and digest; None if there is none, or it is damaged."""
        try:
            entry = json.loads((self._folder / f"{name}.json").read_text(encoding="utf-8"))
            is_current = entry["format"] == _FORMAT
            return (str(entry["status"]), str(entry["content"])) if is_current else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def digest_dataset(sources: SourceDigests, recordings: Iterable[Recording]) -> str:
    """Digest crops and videos of recordings. Raises: CropUnreadable, VideoUnreadable."""
    digest = hashlib.sha256()
    for recording in recordings:
        parts = (sources.digest_crops(recording), sources.digest_video(recording))
        digest.update(f"{recording.name} {parts}\n".encode())
    return digest.hexdigest()


def _name_video(recording: Recording) -> str:
    return f"{recording.video_name}.video"


def _read_status(files: Sequence[Path], extent: str) -> tuple[str, float]:
    """Return a digest of the files' status, and when the newest was changed, in Unix seconds."""
    digest, newest = hashlib.sha256(extent.encode()), 0
    for file in files:
        try:
            status = os.stat(file)  # noqa: PTH116 - once a crop: a third of the time of Path.stat
        except OSError as error:
            raise DatasetChanged(f"{file}: {error.strerror}") from error
        times = (status.st_mtime_ns, status.st_ctime_ns)
        digest.update(repr((status.st_size, *times, status.st_ino)).encode())
        newest = max(newest, *times)
    return digest.hexdigest(), newest / 1e9


def _digest_crop(file: Path) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CropUnreadable(f"{file}: {error.strerror}") from error
    verify_crop(content, file)
    return hashlib.sha256(content).digest()


def _digest_video(video: Path) -> str:
    try:
        with video.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise VideoUnreadable(f"{video}: {error.strerror}") from error
