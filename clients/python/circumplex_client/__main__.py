"""Annotate clips and look after the jobs, circumplex-client annotate VIDEOS -o RESULTS; or annotate
a stream while it lasts, circumplex-client live CLIP."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from circumplex_client.batch import annotate_clips
from circumplex_client.client import API_KEY_VARIABLE, Client
from circumplex_client.errors import ClientError
from circumplex_client.live_cli import add_live_command
from circumplex_client.models import Job

JOB_STATES = ("queued", "running", "succeeded", "failed", "cancelled")


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 if all that was asked for is done; 1 if something failed, 2 if nothing could be."""
    args = _build_parser().parse_args(arguments)
    if args.act is _run_live:
        return _run_live(args)
    with Client(args.url, api_key=args.api_key) as client:
        return args.act(client, args)


def _run_live(args: argparse.Namespace) -> int:
    """Streams, for those who have installed what they need."""
    try:
        from circumplex_client.live.command import run_live
    except ImportError as error:
        needed = "pip install 'circumplex-client[live]'"
        print(f"streams need more than is installed ({error}): {needed}", file=sys.stderr)  # noqa: T201
        return 2
    return run_live(args)


def _list_jobs(client: Client, args: argparse.Namespace) -> int:
    try:
        for job in client.jobs(state=args.state, code=args.code):
            print(_format_job(job))  # noqa: T201
    except ClientError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _build_job_command(
    action: Callable[[Client, str], object], done_text: str
) -> Callable[..., int]:
    """The command that does something to each of the jobs, whatever becomes of the others."""

    def command(client: Client, told: argparse.Namespace) -> int:
        failures = 0
        for job_id in told.jobs:
            try:
                action(client, job_id)
                print(f"{job_id} {done_text}")  # noqa: T201
            except ClientError as error:
                failures += 1
                print(f"{job_id}: {error}", file=sys.stderr)  # noqa: T201
        return 1 if failures else 0

    return command


def _format_job(job: Job) -> str:
    """One job in a line, its fields parted by tabs."""
    fraction = job.progress.fraction
    share = "" if fraction is None else f"{100 * fraction:.0f} %"
    code = "" if job.error is None else job.error.code
    return "\t".join((job.id, job.state, share, job.created_at, job.filename or "", code))


def _build_parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--url", default="http://127.0.0.1:8080", help="the gateway's address")
    shared.add_argument(
        "--api-key",
        metavar="KEY",
        help=f"shown to all on this machine; better in {API_KEY_VARIABLE}",
    )
    parser = argparse.ArgumentParser(prog="circumplex-client", description=__doc__)
    commands = parser.add_subparsers(required=True)
    folder = commands.add_parser(
        "annotate", parents=[shared], help="annotate clips and folders of clips"
    )
    folder.set_defaults(act=annotate_clips)
    _add_annotate_options(folder)
    jobs = commands.add_parser("list", parents=[shared], help="list jobs, newest first")
    jobs.set_defaults(act=_list_jobs)
    jobs.add_argument("--state", choices=JOB_STATES)
    jobs.add_argument("--code", help="failed with this error, attempts_exhausted say")
    for name, act, done in (
        ("cancel", Client.cancel, "cancelled"),
        ("retry", Client.retry, "queued"),
        ("delete", Client.delete, "deleted"),
    ):
        command = commands.add_parser(name, parents=[shared], help=f"{name} jobs")
        command.set_defaults(act=_build_job_command(act, done))
        command.add_argument("jobs", nargs="+", metavar="JOB")
    add_live_command(commands).set_defaults(act=_run_live)
    return parser


def _add_annotate_options(folder: argparse.ArgumentParser) -> None:
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
