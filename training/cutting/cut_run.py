"""Cutting of many videos: what is to be done, several at a time, and what came of it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from service.decoding.extractor import open_clip_extractor
from service.errors import CircumplexError
from service.settings import Settings
from training.cutting.crop_cutter import (
    PART_PREFIX,
    CropCutter,
    CutTask,
    CutVideo,
    hash_finder,
)
from training.data.errors import CropsFolderBusy, DatasetError, LayoutAmbiguous, VideoNotFound
from training.data.folders import VIDEO_SUFFIXES, index_videos, list_files
from training.data.layout import list_recording_names
from training.data.subjects import parse_video

LOCK_FILE: Final = ".cut-faces.lock"


@dataclass(slots=True, kw_only=True)
class CutReport:
    """Outcome of a run. cut: by video; failures: by video or recording, with the reason."""

    cut: dict[str, CutVideo] = field(default_factory=dict[str, CutVideo])
    skipped: list[str] = field(default_factory=list[str])
    """Videos that an earlier run has cut."""
    failures: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class CutProgress:
    """Functions that are called: `start` with the number of videos, the others as they advance."""

    start: Callable[[int], None]
    count_frames: Callable[[int], None]
    finish_video: Callable[[str, str], None]
    """Takes a video's name and its outcome in words."""


def plan_cut(
    videos: Sequence[Path], annotations: Path | None, settings: Settings
) -> tuple[list[CutTask], dict[str, str]]:
    """List what is to be cut: each video's own name, or the recordings that annotations name.

    Returns: tasks, and the recordings without a video.
    Raises: VideoNotFound, LayoutAmbiguous, LayoutNotFound, TestListInvalid.
    """
    index = index_videos([file for place in videos for file in _list_videos(place)])
    for name, found in index.items():
        if len(found) > 1:
            raise LayoutAmbiguous(f"videos named {name}: {', '.join(map(str, found))}")
    if not index:
        raise VideoNotFound(f"no {', '.join(sorted(VIDEO_SUFFIXES))} in {_join(videos)}")
    names = sorted(index) if annotations is None else list_recording_names(annotations)
    recordings: dict[Path, list[str]] = {}
    missing: dict[str, str] = {}
    for name in names:
        found = index.get(name) or index.get(parse_video(name))
        if found is None:
            missing[name] = f"VideoNotFound: looked in {_join(videos)}"
        else:
            recordings.setdefault(found[0], []).append(name)
    finder = _hash_settings(settings)
    tasks = [
        CutTask(video=video, recordings=tuple(sorted(each)), finder=finder)
        for video, each in sorted(recordings.items())
    ]
    return tasks, missing


async def cut_videos(
    tasks: Sequence[CutTask], out: Path, settings: Settings, *, workers: int, progress: CutProgress
) -> CutReport:
    """Cut videos into a folder, several at a time; those that are done are passed over.

    Raises: CropsFolderBusy, FaceModelsMissing, DecoderKilled.
    """
    report = CutReport()
    with _locked(out):
        _remove_parts(out)
        remaining = list[CutTask]()
        for task in tasks:
            is_done = await asyncio.to_thread(task.is_done, out)
            (report.skipped.append(task.video.name) if is_done else remaining.append(task))
        progress.start(len(remaining))
        if not remaining:
            return report
        async with open_clip_extractor(settings) as extractor:
            await extractor.forkserver.start()
            cutter = CropCutter(extractor, out, progress.count_frames)
            queue = iter(remaining)

            async def work() -> None:
                for task in queue:
                    await _cut_one(cutter, task, report, progress)

            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(work())
    return report


async def _cut_one(
    cutter: CropCutter, task: CutTask, report: CutReport, progress: CutProgress
) -> None:
    name = task.video.name
    try:
        cut = report.cut[name] = await cutter.cut(task)
    except (CircumplexError, DatasetError, OSError) as error:
        report.failures[name] = f"{type(error).__name__}: {error}"
        progress.finish_video(name, report.failures[name])
    else:
        progress.finish_video(name, f"{cut.frames} frames, crops: {cut.crops}")


@contextmanager
def _locked(out: Path) -> Generator[None]:
    """Hold the folder's lock, which ends with this process however it ends."""
    out.mkdir(parents=True, exist_ok=True)
    handle = os.open(out / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise CropsFolderBusy(str(out)) from error
    finally:
        os.close(handle)


def _remove_parts(out: Path) -> None:
    """Remove what a run that was killed has left."""
    for part in out.glob(f"{PART_PREFIX}*"):
        shutil.rmtree(part)


def _hash_settings(settings: Settings) -> str:
    folder = settings.face_models_dir
    models = [settings.yunet_file] if settings.yunet_file else sorted(folder.glob("*.tflite"))
    return hash_finder(
        models, max_faces=settings.max_faces, min_face_pixels=settings.min_face_pixels
    )


def _list_videos(place: Path) -> list[Path]:
    if place.is_dir():
        return list_files(place)
    if not place.is_file():
        raise VideoNotFound(f"{place} is neither a file nor a folder")
    return [place]


def _join(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths))
