"""Command line of the client: annotate clips and manage jobs, or annotate a live stream.

circumplex-client annotate VIDEOS -o RESULTS
circumplex-client live CLIP
circumplex-client models
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from circumplex_client.batch import INTERRUPTED_EXIT_CODE, annotate_clips
from circumplex_client.client import Client
from circumplex_client.errors import ClientError
from circumplex_client.live_cli import MODEL_HELP, PROXY_HELP, add_live_command
from circumplex_client.models import Job
from circumplex_client.served_models import ServedModel
from circumplex_client.transport import API_KEY_VARIABLE

JOB_STATES = ("queued", "running", "succeeded", "failed", "cancelled")


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    Returns: 0 on success, 1 if something failed, 2 if it could not start, 130 after Ctrl-C.
    """
    args = _build_parser().parse_args(arguments)
    if args.act is _run_live:
        return _run_live(args)
    try:
        client = Client(args.url, api_key=args.api_key, proxy=args.proxy)
    except (ClientError, ValueError) as error:
        _print_error(str(error))
        return 2
    try:
        with client:
            return args.act(client, args)
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT_CODE


def _run_live(args: argparse.Namespace) -> int:
    """Run `live`; returns 2 where the extra `live` is not installed."""
    try:
        from circumplex_client.live.command import run_live
    except ImportError as error:
        needed = "pip install 'circumplex-client[live]'"
        _print_error(f"streams need more than is installed ({error}): {needed}")
        return 2
    return run_live(args)


def _list_jobs(client: Client, args: argparse.Namespace) -> int:
    try:
        for job in client.jobs(state=args.state, code=args.code):
            _print_line(_format_job(job))
    except ClientError as error:
        _print_error(str(error))
        return 1
    return 0


def _list_models(client: Client, _: argparse.Namespace) -> int:
    try:
        for model in client.models():
            _print_line(_format_model(model))
    except ClientError as error:
        _print_error(str(error))
        return 1
    return 0


def _build_job_command(
    action: Callable[[Client, str], object], done_text: str
) -> Callable[..., int]:
    """Build a command that applies an action to each job, continuing after failures."""

    def command(client: Client, args: argparse.Namespace) -> int:
        failures = 0
        for job_id in args.jobs:
            try:
                action(client, job_id)
                _print_line(f"{job_id} {done_text}")
            except ClientError as error:
                failures += 1
                _print_error(f"{job_id}: {error}")
        return 1 if failures else 0

    return command


def _format_job(job: Job) -> str:
    """Format a job as one line of tab-separated fields."""
    fraction = job.progress.fraction
    share = "" if fraction is None else f"{100 * fraction:.0f} %"
    code = "" if job.error is None else job.error.code
    return "\t".join((job.id, job.state, share, job.created_at, job.filename or "", code))


def _format_model(model: ServedModel) -> str:
    """Format a model as one line of tab-separated fields."""
    role = "default" if model.is_default else "current" if model.is_current else ""
    state = model.state if model.error is None else f"{model.state} ({model.error['code']})"
    return "\t".join((model.id, role, state, model.domain or "", model.summary))


def _build_parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--url", default="http://127.0.0.1:8080", help="the gateway's address")
    shared.add_argument(
        "--api-key",
        metavar="KEY",
        help=f"visible to every user of this machine; prefer {API_KEY_VARIABLE}",
    )
    shared.add_argument("--proxy", metavar="URL", help=PROXY_HELP)
    parser = argparse.ArgumentParser(prog="circumplex-client", description=__doc__)
    commands = parser.add_subparsers(required=True)
    folder = commands.add_parser(
        "annotate", parents=[shared], help="annotate clips and folders of clips"
    )
    folder.set_defaults(act=annotate_clips)
    _add_annotate_options(folder)
    models = commands.add_parser(
        "models", parents=[shared], help="list the models that can be chosen"
    )
    models.set_defaults(act=_list_models)
    jobs = commands.add_parser("list", parents=[shared], help="list jobs, newest first")
    jobs.set_defaults(act=_list_jobs)
    jobs.add_argument("--state", choices=JOB_STATES)
    jobs.add_argument("--code", help="failed with this error code, such as attempts_exhausted")
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
    folder.add_argument("--model", metavar="NAME", help=MODEL_HELP)
    folder.add_argument(
        "--faces",
        choices=("primary", "all"),
        default="primary",
        help="the face visible longest, or all",
    )
    for kind in ("video", "audio"):
        folder.add_argument(
            f"--{kind}-stream", type=int, metavar="N", help="index of the stream, as in ffprobe"
        )
    folder.add_argument("--priority", choices=("interactive", "bulk"), default="bulk")
    folder.add_argument(
        "--at-once", type=_parse_count, default=4, metavar="N", help="clips processed concurrently"
    )


def _parse_count(text: str) -> int:
    """Parse a positive integer; raises ArgumentTypeError."""
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text} is no number of clips")
    return int(text)


def _print_line(line: str) -> None:
    print(line)  # noqa: T201 - results of a command line


def _print_error(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201 - messages of a command line


if __name__ == "__main__":
    sys.exit(main())
