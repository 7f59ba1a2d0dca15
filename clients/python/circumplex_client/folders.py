"""Annotate clips and folders of clips, and go on where an earlier run has stopped."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Final

from circumplex_client.client import Client
from circumplex_client.errors import ClientError
from circumplex_client.values import Choices, Job

SUFFIXES: Final = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".ts", ".mts", ".m2ts"),
        *(".avi", ".flv", ".mpg", ".mpeg", ".vob", ".wmv", ".asf", ".ogv", ".dv", ".mxf"),
    }
)
"""What counts as a clip in a folder."""


def annotate(client: Client, told: argparse.Namespace) -> int:
    """Returns 0 if every clip has its result, 1 if not, 2 if the clips cannot be told apart."""
    out: Path = told.out
    clips = dict(_find_clips(told.clips))
    targets = {clip: out / f"{name}.{told.format}" for clip, name in clips.items()}
    if len(set(targets.values())) < len(targets):
        _say("some of these clips have the same name: annotate them into different folders")
        return 2
    waiting = [clip for clip, target in targets.items() if not target.exists()]
    _say(f"{len(clips)} clips, {len(clips) - len(waiting)} already done")
    failures: dict[Path, str] = {}
    with ThreadPoolExecutor(told.at_once) as threads:
        running = {
            threads.submit(_annotate, client, clip, targets[clip], told): clip for clip in waiting
        }
        for number, done in enumerate(as_completed(running), start=1):
            clip = running[done]
            try:
                _say(f"[{number}/{len(waiting)}] {clip}: {done.result()} frames → {targets[clip]}")
            except (ClientError, OSError) as error:
                failures[clip] = str(error)
                _say(f"[{number}/{len(waiting)}] {clip}: {error}")
    if failures:
        _say(f"{len(failures)} of {len(clips)} clips have no result:")
    for clip, why in failures.items():
        _say(f"  {clip}: {why}")
    return 1 if failures else 0


def _annotate(client: Client, clip: Path, target: Path, told: argparse.Namespace) -> int:
    """Returns the number of frames."""
    target.parent.mkdir(parents=True, exist_ok=True)
    choices = Choices(
        faces=told.faces, video_stream=told.video_stream, audio_stream=told.audio_stream
    )
    key = _key_of(clip, choices, told.priority)
    job = client.submit(clip, choices, priority=told.priority, idempotency_key=key)
    if _is_worth_retrying(job):
        job = client.retry(job.id)
    job = client.wait(job.id, on_progress=_Announcer(clip))
    client.save(job.id, target, format=told.format)
    return job.progress.frames_done


def _key_of(clip: Path, choices: Choices, priority: str) -> str:
    """One for each file as it is: a run that starts anew finds the jobs of the one before."""
    state = clip.stat()
    parts = (clip.resolve(), state.st_size, state.st_mtime_ns, choices, priority)
    return hashlib.sha256(repr(parts).encode(errors="surrogateescape")).hexdigest()


def _is_worth_retrying(job: Job) -> bool:
    """Whether an earlier run left a job that has ended without a result and may yet have one."""
    return job.state == "cancelled" or (job.error is not None and job.error.retryable)


class _Announcer:
    """Says each tenth of a clip's progress once."""

    def __init__(self, clip: Path) -> None:
        self._clip = clip
        self._tenths = 0

    def __call__(self, job: Job) -> None:
        tenths = int(10 * (job.progress.fraction or 0))
        if self._tenths < tenths < 10:
            self._tenths = tenths
            _say(f"{self._clip}: {10 * tenths} %")


def _find_clips(given: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Each clip with the name of its result, which keeps the folders below the one given."""
    for path in given:
        if path.is_dir():
            for clip in sorted(path.rglob("*")):
                if clip.suffix.lower() in SUFFIXES:
                    yield clip, clip.relative_to(path).as_posix()
        else:
            yield path, path.name


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
