"""The command `circumplex-client live`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Generator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Final, TextIO

from circumplex_client.errors import ClientError
from circumplex_client.live.cli_arguments import build_client, build_options, open_media
from circumplex_client.live.client import LiveClient
from circumplex_client.live.output import TABLE_HEADER, format_json, format_table_rows
from circumplex_client.live.results import FrameResult, LiveResult, StreamAccepted, StreamSummary
from circumplex_client.live.signals import read_until_stopped, signals_handled

PROGRESS_INTERVAL_SECONDS: Final = 5.0
INTERRUPTED_EXIT_CODE: Final = 130


def run_live(args: argparse.Namespace) -> int:
    """Returns 0 when the stream has come to its end, 1 when it has not, 2 if it cannot begin."""
    if (args.camera is None) == (args.source is None):
        _print_status("name a file, - for what is piped in, or --camera DEVICE")
        return 2
    try:
        client = build_client(args)
    except (ValueError, OSError) as error:
        _print_status(str(error))
        return 2
    try:
        with _open_output(args.out) as out:
            return asyncio.run(_LiveRun(args, out).run(client))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ClientError, OSError) as error:
        _print_status(str(error))
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT_CODE


class _LiveRun:
    """One stream, from a source to a file or the terminal."""

    def __init__(self, args: argparse.Namespace, out: TextIO) -> None:
        self._args = args
        self._out = out
        output_format = args.format or ("table" if out.isatty() else "ndjson")
        self._is_table = output_format == "table"
        self._stopping = asyncio.Event()
        self._progress_printed_at = 0.0

    async def run(self, client: LiveClient) -> int:
        """Returns 0; raises what ended the stream before its end."""
        task = asyncio.current_task()
        assert task is not None
        with signals_handled(self._stopping, task, _print_status):
            try:
                await self._stream(client)
            except asyncio.CancelledError:
                return INTERRUPTED_EXIT_CODE
        return 0

    async def _stream(self, client: LiveClient) -> None:
        if self._is_table:
            self._print(TABLE_HEADER)
        async with client:
            results = client.annotate(
                read_until_stopped(self._stopping, open_media(self._args)),
                build_options(self._args),
                on_accepted=self._print_accepted,
                on_interrupted=lambda error, seconds: _print_status(
                    f"{error}; again in {seconds:.1f} s"
                ),
            )
            async with aclosing(results):
                async for result in results:
                    self._print(
                        format_table_rows(result) if self._is_table else format_json(result)
                    )
                    if not self._is_table:
                        self._print_progress(result)

    def _print(self, line: str) -> None:
        print(line, file=self._out, flush=True)

    def _print_accepted(self, accepted: StreamAccepted) -> None:
        _print_status(f"stream {accepted.stream_id} is under way; Ctrl-C ends it")

    def _print_progress(self, result: LiveResult) -> None:
        """To people, where the results are for programs."""
        now = asyncio.get_running_loop().time()
        if isinstance(result, StreamSummary):
            _print_status(format_table_rows(result))
        elif (
            isinstance(result, FrameResult)
            and now - self._progress_printed_at > PROGRESS_INTERVAL_SECONDS
        ):
            self._progress_printed_at = now
            _print_status(f"frame {result.index}, {result.time:.1f} s")


@contextmanager
def _open_output(path: Path | None) -> Generator[TextIO]:
    if path is None:
        yield sys.stdout
        return
    with path.open("w", encoding="utf-8") as file:
        yield file


def _print_status(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
