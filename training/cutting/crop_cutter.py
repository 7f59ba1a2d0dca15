"""Cutting of one video's crops into the layout of training, by the service's own extraction.

    OUT/<recording>/00001.png ..      row i is file i + 1; no file: no face
    OUT/<recording>/cut-faces.json    what it was cut from; without it the folder is not complete
    OUT/.cutting-<video>/             a video that is being cut, or whose cutting was interrupted

PNG keeps every pixel: what a training reads is what the service embeds.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2

from service.domain.array_types import UInt8Array
from service.domain.clip import Chunk, ClipClosed, ClipOpened
from service.domain.options import AnalysisOptions
from service.domain.ports import ClipExtractor
from training.cutting.track_selection import FaceTable
from training.data.crops import CUT_MANIFEST_FILE
from training.data.errors import CropsFolderOccupied, DatasetChanged
from training.data.files import replace_text

PART_PREFIX: Final = ".cutting-"
_FORMAT: Final = 1
"""Raise it when other crops are cut from the same video."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutTask:
    """A video, the recordings to cut from it, and a hash of the face finder's settings."""

    video: Path
    recordings: tuple[str, ...]
    finder: str

    def is_done(self, out: Path) -> bool:
        """Return whether every recording was cut from this very video with this finder."""
        manifests = [_read_manifest(out / name) for name in self.recordings]
        if any(manifest.get("finder") != self.finder for manifest in manifests):
            return False
        status = _read_status(self.video)
        if all(manifest.get("status") == status for manifest in manifests):
            return True
        content = _hash_file(self.video)
        return all(manifest.get("sha256") == content for manifest in manifests)


@dataclass(frozen=True, slots=True, kw_only=True)
class CutVideo:
    """Outcome of a video: its frames, the crops of each recording, and the media's flags."""

    frames: int
    crops: dict[str, int]
    flags: tuple[str, ...]


class CropCutter:
    """Cuts videos into a folder, each completely or not at all."""

    def __init__(
        self, extractor: ClipExtractor, out: Path, count_frames: Callable[[int], None]
    ) -> None:
        self._extractor = extractor
        self._out = out
        self._count_frames = count_frames

    async def cut(self, task: CutTask) -> CutVideo:
        """Cut a video; replaces what was cut from another, or with another finder.

        Raises: ClipError, ServiceError, DatasetChanged, OSError; CropsFolderOccupied: a recording's
            folder was not cut by this command.
        """
        for name in task.recordings:
            folder = self._out / name
            if folder.exists() and not _read_manifest(folder):
                raise CropsFolderOccupied(f"{folder} was not cut by cut-faces")
        part = self._out / f"{PART_PREFIX}{task.video.stem}"
        part.mkdir(parents=True)
        try:
            return await self._cut_into(part, task)
        finally:
            shutil.rmtree(part)

    async def _cut_into(self, part: Path, task: CutTask) -> CutVideo:
        status, content = _read_status(task.video), await asyncio.to_thread(_hash_file, task.video)
        cut = await self._extract(task, part)
        if _read_status(task.video) != status:
            raise DatasetChanged(str(task.video))
        for name in task.recordings:
            manifest = {
                "format": _FORMAT,
                "finder": task.finder,
                "video": task.video.name,
                "sha256": content,
                "status": status,
                "frames": cut.frames,
                "crops": cut.crops[name],
                "flags": cut.flags,
            }
            replace_text(part / name / CUT_MANIFEST_FILE, json.dumps(manifest, indent=2) + "\n")
        for name in task.recordings:
            _replace_folder(part / name, self._out / name)
        return cut

    async def _extract(self, task: CutTask, part: Path) -> CutVideo:
        table, width, flags = FaceTable(), 0.0, tuple[str, ...]()
        async with self._extractor(task.video, AnalysisOptions()) as events:
            async for event in events:
                match event:
                    case ClipOpened():
                        width = float(event.media.width)
                    case Chunk():
                        await asyncio.to_thread(_write_chunk, part, event, table)
                        self._count_frames(len(event.frames))
                    case ClipClosed():
                        flags = tuple(flag.value for flag in event.flags)
        selected = table.select(task.recordings, width=width)
        crops = {name: _collect_crops(part, name, selected[name]) for name in task.recordings}
        return CutVideo(frames=table.frame_count, crops=crops, flags=flags)


def _write_chunk(part: Path, chunk: Chunk, table: FaceTable) -> None:
    crops = iter(chunk.crops)
    for frame in chunk.frames:
        table.add(frame)
        for face in frame.faces:
            _write_crop(_name_crop(part / "tracks", face.track, frame.index), next(crops))


def _write_crop(file: Path, crop: UInt8Array) -> None:
    """Write a (3, 112, 112) RGB crop as PNG."""
    file.parent.mkdir(parents=True, exist_ok=True)
    is_coded, coded = cv2.imencode(".png", cv2.cvtColor(crop.transpose(1, 2, 0), cv2.COLOR_RGB2BGR))
    if not is_coded:
        raise OSError(f"{file} cannot be coded")
    file.write_bytes(coded.tobytes())


def _collect_crops(part: Path, recording: str, tracks: dict[int, int]) -> int:
    """Link the crops of a recording's frames into its folder; returns their number."""
    folder = part / recording
    folder.mkdir()
    for frame, track in tracks.items():
        file = _name_crop(part / "tracks", track, frame)
        os.link(file, folder / file.name)
    return len(tracks)


def _name_crop(folder: Path, track: int, frame: int) -> Path:
    return folder / str(track) / f"{frame + 1:05d}.png"


def _replace_folder(folder: Path, target: Path) -> None:
    """Move a folder to a place, where an earlier one may be."""
    if target.exists():
        earlier = folder.with_name(f"{folder.name}.earlier")
        target.rename(earlier)
    folder.rename(target)


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Read a folder's manifest; empty if there is none, or one of another format."""
    try:
        manifest = json.loads((folder / CUT_MANIFEST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if manifest.get("format") == _FORMAT else {"format": None}


def _read_status(file: Path) -> list[int]:
    """Return size, times in ns and inode number: what changes with a file's content."""
    status = file.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _hash_file(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def hash_finder(models: Sequence[Path], **settings: Any) -> str:
    """Hash the files and the settings of a face finder."""
    files = {file.name: _hash_file(file) for file in models}
    described = {"files": files, "opencv": cv2.__version__, **settings}
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
