"""Annotation of clips and folders of clips; a second run continues where the first stopped."""

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
from circumplex_client.models import ClipOptions, Job

CLIP_SUFFIXES: Final = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".ts", ".mts", ".m2ts"),
        *(".avi", ".flv", ".mpg", ".mpeg", ".vob", ".wmv", ".asf", ".ogv", ".dv", ".mxf"),
    }
)
"""File names with these suffixes are clips when a folder is searched."""

TENTHS: Final = 10
"""Progress of a clip is printed in this many steps."""


def annotate_clips(client: Client, args: argparse.Namespace) -> int:
    """Annotate all clips; returns 0 on success, 1 if a clip failed, 2 if names collide."""
    out: Path = args.out
    clips = dict(_find_clips(args.clips))
    targets = {clip: out / f"{name}.{args.format}" for clip, name in clips.items()}
    if len(set(targets.values())) < len(targets):
        _print_status(
            "some of these clips have the same name: annotate them into different folders"
        )
        return 2
    pending = [clip for clip, target in targets.items() if not target.exists()]
    _print_status(f"{len(clips)} clips, {len(clips) - len(pending)} already done")
    failures: dict[Path, str] = {}
    with ThreadPoolExecutor(args.at_once) as threads:
        running = {
            threads.submit(_annotate_clip, client, clip, targets[clip], args): clip
            for clip in pending
        }
        for number, done in enumerate(as_completed(running), start=1):
            clip = running[done]
            try:
                _print_status(
                    f"[{number}/{len(pending)}] {clip}: {done.result()} frames → {targets[clip]}"
                )
            except (ClientError, OSError) as error:
                failures[clip] = str(error)
                _print_status(f"[{number}/{len(pending)}] {clip}: {error}")
    if failures:
        _print_status(f"{len(failures)} of {len(clips)} clips have no result:")
    for clip, reason in failures.items():
        _print_status(f"  {clip}: {reason}")
    return 1 if failures else 0


def _annotate_clip(client: Client, clip: Path, target: Path, args: argparse.Namespace) -> int:
    """Submit a clip, wait for its job and save the result; returns the number of frames."""
    target.parent.mkdir(parents=True, exist_ok=True)
    options = ClipOptions(
        faces=args.faces, video_stream=args.video_stream, audio_stream=args.audio_stream
    )
    key = _compute_idempotency_key(clip, options, args.priority)
    job = client.submit(clip, options, priority=args.priority, idempotency_key=key)
    if _is_worth_retrying(job):
        job = client.retry(job.id)
    job = client.wait(job.id, on_progress=_ProgressPrinter(clip))
    client.save(job.id, target, format=args.format)
    return job.progress.frames_done


def _compute_idempotency_key(clip: Path, options: ClipOptions, priority: str) -> str:
    """Hash path, size, time of change and options, so that a second run finds the same job."""
    state = clip.stat()
    parts = (clip.resolve(), state.st_size, state.st_mtime_ns, options, priority)
    return hashlib.sha256(repr(parts).encode(errors="surrogateescape")).hexdigest()


def _is_worth_retrying(job: Job) -> bool:
    """Return whether the job ended without a result and may succeed when retried."""
    return job.state == "cancelled" or (job.error is not None and job.error.retryable)


class _ProgressPrinter:
    """Prints each tenth of a clip's progress once."""

    def __init__(self, clip: Path) -> None:
        self._clip = clip
        self._printed_tenths = 0

    def __call__(self, job: Job) -> None:
        tenths = int(TENTHS * (job.progress.fraction or 0))
        if self._printed_tenths < tenths < TENTHS:
            self._printed_tenths = tenths
            _print_status(f"{self._clip}: {10 * tenths} %")


def _find_clips(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Yield each clip with its result's name, relative to the folder that was searched."""
    for path in paths:
        if path.is_dir():
            for clip in sorted(path.rglob("*")):
                if clip.suffix.lower() in CLIP_SUFFIXES:
                    yield clip, clip.relative_to(path).as_posix()
        else:
            yield path, path.name


def _print_status(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - messages of a command line
