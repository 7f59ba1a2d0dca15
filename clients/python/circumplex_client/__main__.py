"""Annotate clips and folders of clips: python -m circumplex_client annotate CLIP… -o DIR"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Final

from circumplex_client.client import KEY_VARIABLE, Client
from circumplex_client.errors import ClientError
from circumplex_client.values import Choices, Job

SUFFIXES: Final = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".ts", ".mts", ".m2ts"),
        *(".avi", ".flv", ".mpg", ".mpeg", ".vob", ".wmv", ".asf", ".ogv", ".dv", ".mxf"),
    }
)
"""What counts as a clip in a folder."""


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 if every clip has its result, 2 if the clips cannot be told apart."""
    told = _parser().parse_args(arguments)
    out: Path = told.out
    clips = dict(_find_clips(told.clips))
    targets = {clip: out / f"{name}.{told.format}" for clip, name in clips.items()}
    if len(set(targets.values())) < len(targets):
        _say("some of these clips have the same name: annotate them into different folders")
        return 2
    waiting = [clip for clip, target in targets.items() if not target.exists()]
    _say(f"{len(clips)} clips, {len(clips) - len(waiting)} already done")
    failures = 0
    with (
        Client(told.url, api_key=told.api_key) as client,
        ThreadPoolExecutor(told.at_once) as threads,
    ):
        running = {
            threads.submit(_annotate, client, clip, targets[clip], told): clip for clip in waiting
        }
        for number, done in enumerate(as_completed(running), start=1):
            clip = running[done]
            try:
                _say(f"[{number}/{len(waiting)}] {clip}: {done.result()} frames → {targets[clip]}")
            except (ClientError, OSError) as error:
                failures += 1
                _say(f"[{number}/{len(waiting)}] {clip}: {error}")
    return 1 if failures else 0


def _annotate(client: Client, clip: Path, target: Path, told: argparse.Namespace) -> int:
    """Returns the number of frames."""
    target.parent.mkdir(parents=True, exist_ok=True)
    choices = Choices(
        faces=told.faces, video_stream=told.video_stream, audio_stream=told.audio_stream
    )
    job = client.wait(client.submit(clip, choices).id, on_progress=_Announcer(clip))
    client.save(job.id, target, format=told.format)
    return job.progress.frames_done


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="circumplex_client", description=__doc__)
    commands = parser.add_subparsers(required=True)
    annotate = commands.add_parser("annotate", help="annotate clips and folders of clips")
    annotate.add_argument("clips", nargs="+", type=Path, metavar="CLIP")
    annotate.add_argument("--url", default="http://127.0.0.1:8080", help="the gateway's address")
    annotate.add_argument(
        "--api-key", metavar="KEY", help=f"shown to all on this machine; better in {KEY_VARIABLE}"
    )
    annotate.add_argument("-o", "--out", type=Path, required=True, metavar="DIR")
    annotate.add_argument("--format", choices=("json", "csv"), default="csv")
    annotate.add_argument(
        "--faces", choices=("primary", "all"), default="primary", help="the one there most, or all"
    )
    for kind in ("video", "audio"):
        annotate.add_argument(
            f"--{kind}-stream", type=int, metavar="N", help="which stream, as ffprobe counts them"
        )
    annotate.add_argument("--at-once", type=int, default=4, help="clips under way together")
    return parser


if __name__ == "__main__":
    sys.exit(main())
