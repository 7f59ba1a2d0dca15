"""What the command `circumplex-client live` can be told."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]  # pyright: ignore[reportPrivateUsage]

LIVE_HELP: Final = "annotate a file, a camera or a pipe while it lasts"

LIVE_EPILOG: Final = """\
A line for each result, as it comes: `~` for what is known at once, `=` for what a job's
result would say, a few seconds later. To a file or a pipe they are JSON, one object a line,
`type` "frame", "dropped" or, the last one, "summary". Where a connection is lost the stream
goes on over another, and nothing is lost or told twice. Ctrl-C ends the stream: its last
results still come; Ctrl-C again leaves at once.

  circumplex-client live talk.mp4                          as if it were happening now
  circumplex-client live talk.mp4 --fast --finals-only --out talk.ndjson
  circumplex-client live --camera /dev/video0              pictures only
  ffmpeg -f v4l2 -i /dev/video0 -f alsa -i default -f matroska - | circumplex-client live -
  circumplex-client live talk.webm --url grpcs://va.example.org:443 --ca-file ca.pem

Playing in real time, cameras, and MP4 files whose index is at their end need PyAV:
pip install 'circumplex-client[live,media]'.
"""


def add_live_command(commands: Subcommands) -> argparse.ArgumentParser:
    """The command's own parser."""
    parser = commands.add_parser(
        "live",
        help=LIVE_HELP,
        description=f"{LIVE_HELP[0].upper()}{LIVE_HELP[1:]}.",
        epilog=LIVE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_source_options(parser)
    _add_analysis_options(parser)
    _add_output_options(parser)
    _add_gateway_options(parser)
    return parser


def _add_source_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is sent")
    group.add_argument("source", nargs="?", metavar="FILE", help="a clip; -: what is piped in")
    group.add_argument("--camera", metavar="DEVICE", help="/dev/video0 say")
    group.add_argument(
        "--camera-kind", metavar="NAME", help="FFmpeg's name of such devices (this platform's)"
    )
    pace = group.add_mutually_exclusive_group()
    pace.add_argument(
        "--realtime",
        action="store_true",
        default=True,
        help="a clip: as it would be played (default)",
    )
    pace.add_argument(
        "--fast", dest="realtime", action="store_false", help="a clip: as fast as it is taken"
    )


def _add_analysis_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is asked for")
    group.add_argument(
        "--faces", choices=("primary", "all"), default="primary", help="the one there most, or all"
    )
    for kind in ("video", "audio"):
        group.add_argument(
            f"--{kind}-stream", type=int, metavar="N", help="which stream, as ffprobe counts them"
        )
    group.add_argument("--finals-only", action="store_true", help="no provisional results")
    group.add_argument(
        "--overload",
        choices=("block", "drop_oldest", "fail"),
        help="when frames come faster than they are dealt with: wait (files, pipes), leave out the "
        "oldest (cameras), or fail",
    )


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is written")
    group.add_argument(
        "--format",
        choices=("table", "ndjson"),
        help="a table (to a terminal), or JSON, one object a line (elsewhere)",
    )
    group.add_argument("--out", type=Path, metavar="FILE", help="instead of the terminal")


def _add_gateway_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the gateway")
    group.add_argument(
        "--url", default="grpc://127.0.0.1:50051", help="grpcs:// where it has TLS (%(default)s)"
    )
    group.add_argument(
        "--api-key",
        metavar="KEY",
        help="shown to all on this machine; better in CIRCUMPLEX_API_KEY",
    )
    group.add_argument("--ca-file", type=Path, metavar="PEM", help="whom to trust, of grpcs")
    group.add_argument("--cert-file", type=Path, metavar="PEM", help="who one is, of grpcs")
    group.add_argument("--key-file", type=Path, metavar="PEM", help="the key to it")
