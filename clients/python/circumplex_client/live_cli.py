"""Arguments of the command `circumplex-client live`; importable without the extra `live`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final, Protocol

LIVE_HELP: Final = "annotate a file, a camera or a pipe while it lasts"

LIVE_EPILOG: Final = """\
Prints one line per result as it arrives: `~` marks a provisional result, `=` the final one a few
seconds later, equal to the result of a job. Files and pipes get JSON, one object a line, with the
`type` "frame", "dropped" or, at the end, "summary". After a lost connection the stream is resumed
without missing or repeated results. Ctrl-C ends the stream and waits for its last results;
a second Ctrl-C exits at once.

  circumplex-client live talk.mp4                          in real time
  circumplex-client live talk.mp4 --fast --finals-only --out talk.ndjson
  circumplex-client live --camera /dev/video0              video only
  ffmpeg -f v4l2 -i /dev/video0 -f alsa -i default -f matroska - | circumplex-client live -
  circumplex-client live talk.webm --url grpcs://va.example.org:443 --ca-file ca.pem

Playing in real time, cameras, and MP4 files whose index is at their end need PyAV:
pip install 'circumplex-client[live,media]'.
"""


PROXY_HELP: Final = "such as http://proxy:3128 (default: none; the environment's are not used)"
MODEL_HELP: Final = "NAME or NAME@VERSION, as `models` lists them (default: the service's)"


class Subcommands(Protocol):
    """The object that `ArgumentParser.add_subparsers` returns."""

    def add_parser(self, name: str, **options: Any) -> argparse.ArgumentParser:
        """Add a command."""
        ...


def add_live_command(commands: Subcommands) -> argparse.ArgumentParser:
    """Add the command `live`; returns its parser."""
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
    group = parser.add_argument_group("input")
    group.add_argument("source", nargs="?", metavar="FILE", help="a clip; - reads standard input")
    group.add_argument("--camera", metavar="DEVICE", help="such as /dev/video0")
    group.add_argument(
        "--camera-kind", metavar="NAME", help="FFmpeg's input format (default: this platform's)"
    )
    pace = group.add_mutually_exclusive_group()
    pace.add_argument(
        "--realtime",
        action="store_true",
        default=True,
        help="send a clip at playback speed (default)",
    )
    pace.add_argument(
        "--fast",
        dest="realtime",
        action="store_false",
        help="send a clip as fast as the service accepts it",
    )


def _add_analysis_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("analysis")
    group.add_argument("--model", metavar="NAME", help=MODEL_HELP)
    group.add_argument(
        "--faces",
        choices=("primary", "all"),
        default="primary",
        help="the face visible longest, or all",
    )
    for kind in ("video", "audio"):
        group.add_argument(
            f"--{kind}-stream", type=int, metavar="N", help="index of the stream, as in ffprobe"
        )
    group.add_argument("--finals-only", action="store_true", help="no provisional results")
    group.add_argument(
        "--overload",
        choices=("block", "drop_oldest", "fail"),
        help="when frames arrive faster than they are processed: wait (default of files and "
        "pipes), drop the oldest (default of cameras), or fail",
    )


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "--format",
        choices=("table", "ndjson"),
        help="a table (default on a terminal), or JSON, one object a line (default elsewhere)",
    )
    group.add_argument("--out", type=Path, metavar="FILE", help="default: standard output")


def _add_gateway_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("gateway")
    group.add_argument(
        "--url", default="grpc://127.0.0.1:50051", help="grpcs:// for TLS (default: %(default)s)"
    )
    group.add_argument(
        "--api-key",
        metavar="KEY",
        help="visible to every user of this machine; prefer CIRCUMPLEX_API_KEY",
    )
    group.add_argument("--proxy", metavar="URL", help=PROXY_HELP)
    group.add_argument("--ca-file", type=Path, metavar="PEM", help="trusted CA, for grpcs")
    group.add_argument("--cert-file", type=Path, metavar="PEM", help="client certificate")
    group.add_argument("--key-file", type=Path, metavar="PEM", help="its private key")
