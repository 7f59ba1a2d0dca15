"""Annotate clips and look after the jobs, circumplex-client annotate VIDEOS -o RESULTS; or annotate
a stream while it lasts, circumplex-client live CLIP."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from circumplex_client.client import KEY_VARIABLE, Client
from circumplex_client.errors import ClientError
from circumplex_client.folders import annotate
from circumplex_client.live_options import add_live
from circumplex_client.values import Job

STATES = ("queued", "running", "succeeded", "failed", "cancelled")


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 if all that was asked for is done; 1 if something failed, 2 if nothing could be."""
    told = _parser().parse_args(arguments)
    if told.act is _live:
        return _live(told)
    with Client(told.url, api_key=told.api_key) as client:
        return told.act(client, told)


def _live(told: argparse.Namespace) -> int:
    """Streams, for those who have installed what they need."""
    try:
        from circumplex_client.live.command import run
    except ImportError as error:
        needed = "pip install 'circumplex-client[live]'"
        print(f"streams need more than is installed ({error}): {needed}", file=sys.stderr)  # noqa: T201
        return 2
    return run(told)


def _list(client: Client, told: argparse.Namespace) -> int:
    try:
        for job in client.jobs(state=told.state, code=told.code):
            print(_line(job))  # noqa: T201
    except ClientError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _for_each(act: Callable[[Client, str], object], done: str) -> Callable[..., int]:
    """The command that does something to each of the jobs, whatever becomes of the others."""

    def command(client: Client, told: argparse.Namespace) -> int:
        failures = 0
        for job_id in told.jobs:
            try:
                act(client, job_id)
                print(f"{job_id} {done}")  # noqa: T201
            except ClientError as error:
                failures += 1
                print(f"{job_id}: {error}", file=sys.stderr)  # noqa: T201
        return 1 if failures else 0

    return command


def _line(job: Job) -> str:
    """One job in a line, its fields parted by tabs."""
    fraction = job.progress.fraction
    share = "" if fraction is None else f"{100 * fraction:.0f} %"
    code = "" if job.error is None else job.error.code
    return "\t".join((job.id, job.state, share, job.created_at, job.filename or "", code))


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--url", default="http://127.0.0.1:8080", help="the gateway's address")
    shared.add_argument(
        "--api-key", metavar="KEY", help=f"shown to all on this machine; better in {KEY_VARIABLE}"
    )
    parser = argparse.ArgumentParser(prog="circumplex-client", description=__doc__)
    commands = parser.add_subparsers(required=True)
    folder = commands.add_parser(
        "annotate", parents=[shared], help="annotate clips and folders of clips"
    )
    folder.set_defaults(act=annotate)
    _add_choices(folder)
    jobs = commands.add_parser("list", parents=[shared], help="list jobs, newest first")
    jobs.set_defaults(act=_list)
    jobs.add_argument("--state", choices=STATES)
    jobs.add_argument("--code", help="failed with this error, attempts_exhausted say")
    for name, act, done in (
        ("cancel", Client.cancel, "cancelled"),
        ("retry", Client.retry, "queued"),
        ("delete", Client.delete, "deleted"),
    ):
        command = commands.add_parser(name, parents=[shared], help=f"{name} jobs")
        command.set_defaults(act=_for_each(act, done))
        command.add_argument("jobs", nargs="+", metavar="JOB")
    add_live(commands).set_defaults(act=_live)
    return parser


def _add_choices(folder: argparse.ArgumentParser) -> None:
    folder.add_argument("clips", nargs="+", type=Path, metavar="CLIP")
    folder.add_argument("-o", "--out", type=Path, required=True, metavar="DIR")
    folder.add_argument("--format", choices=("json", "csv"), default="csv")
    folder.add_argument(
        "--faces", choices=("primary", "all"), default="primary", help="the one there most, or all"
    )
    for kind in ("video", "audio"):
        folder.add_argument(
            f"--{kind}-stream", type=int, metavar="N", help="which stream, as ffprobe counts them"
        )
    folder.add_argument("--priority", choices=("interactive", "bulk"), default="bulk")
    folder.add_argument("--at-once", type=int, default=4, help="clips under way together")


if __name__ == "__main__":
    sys.exit(main())
