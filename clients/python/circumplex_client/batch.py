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
from circumplex_client.models import ClipOptions, Job

CLIP_SUFFIXES: Final = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".ts", ".mts", ".m2ts"),
        *(".avi", ".flv", ".mpg", ".mpeg", ".vob", ".wmv", ".asf", ".ogv", ".dv", ".mxf"),
    }
)
"""What counts as a clip in a folder."""


def annotate_clips(client: Client, args: argparse.Namespace) -> int:
    """Returns 0 if every clip has its result, 1 if not, 2 if the clips cannot be told apart."""
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
    for clip, why in failures.items():
        _print_status(f"  {clip}: {why}")
    return 1 if failures else 0


def _annotate_clip(client: Client, clip: Path, target: Path, args: argparse.Namespace) -> int:
    """Returns the number of frames."""
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
    """One for each file as it is: a run that starts anew finds the jobs of the one before."""
    state = clip.stat()
    parts = (clip.resolve(), state.st_size, state.st_mtime_ns, options, priority)
    return hashlib.sha256(repr(parts).encode(errors="surrogateescape")).hexdigest()


def _is_worth_retrying(job: Job) -> bool:
    """Whether an earlier run left a job that has ended without a result and may yet have one."""
    return job.state == "cancelled" or (job.error is not None and job.error.retryable)


class _ProgressPrinter:
    """Says each tenth of a clip's progress once."""

    def __init__(self, clip: Path) -> None:
        self._clip = clip
        self._printed_tenths = 0

    def __call__(self, job: Job) -> None:
        tenths = int(10 * (job.progress.fraction or 0))
        if self._printed_tenths < tenths < 10:
            self._printed_tenths = tenths
            _print_status(f"{self._clip}: {10 * tenths} %")


def _find_clips(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Each clip with the name of its result, which keeps the folders below the one given."""
    for path in paths:
        if path.is_dir():
            for clip in sorted(path.rglob("*")):
                if clip.suffix.lower() in CLIP_SUFFIXES:
                    yield clip, clip.relative_to(path).as_posix()
        else:
            yield path, path.name


def _print_status(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
