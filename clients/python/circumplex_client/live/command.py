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
from circumplex_client.live.asked import choices_of, client_of, media_of
from circumplex_client.live.client import LiveClient
from circumplex_client.live.printing import HEAD, json_line, table_rows
from circumplex_client.live.results import Accepted, FrameResult, LiveResult, Summary
from circumplex_client.live.stopping import heeding, until

PROGRESS_SECONDS: Final = 5.0
INTERRUPTED: Final = 130


def run(told: argparse.Namespace) -> int:
    """Returns 0 when the stream has come to its end, 1 when it has not, 2 if it cannot begin."""
    if (told.camera is None) == (told.source is None):
        _say("name a file, - for what is piped in, or --camera DEVICE")
        return 2
    try:
        client = client_of(told)
    except (ValueError, OSError) as error:
        _say(str(error))
        return 2
    try:
        with _open_out(told.out) as out:
            return asyncio.run(_Run(told, out).run(client))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ClientError, OSError) as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


class _Run:
    """One stream, from a source to a file or the terminal."""

    def __init__(self, told: argparse.Namespace, out: TextIO) -> None:
        self._told = told
        self._out = out
        chosen = told.format or ("table" if out.isatty() else "ndjson")
        self._is_table = chosen == "table"
        self._stopping = asyncio.Event()
        self._said_at = 0.0

    async def run(self, client: LiveClient) -> int:
        """Returns 0; raises what ended the stream before its end."""
        task = asyncio.current_task()
        assert task is not None
        with heeding(self._stopping, task, _say):
            try:
                await self._stream(client)
            except asyncio.CancelledError:
                return INTERRUPTED
        return 0

    async def _stream(self, client: LiveClient) -> None:
        if self._is_table:
            self._print(HEAD)
        async with client:
            results = client.annotate(
                until(self._stopping, media_of(self._told)),
                choices_of(self._told),
                on_accept=self._tell_accepted,
                on_break=lambda error, seconds: _say(f"{error}; again in {seconds:.1f} s"),
            )
            async with aclosing(results):
                async for result in results:
                    self._print(table_rows(result) if self._is_table else json_line(result))
                    if not self._is_table:
                        self._tell_progress(result)

    def _print(self, line: str) -> None:
        print(line, file=self._out, flush=True)

    def _tell_accepted(self, accepted: Accepted) -> None:
        _say(f"stream {accepted.stream_id} is under way; Ctrl-C ends it")

    def _tell_progress(self, result: LiveResult) -> None:
        """To people, where the results are for programs."""
        now = asyncio.get_running_loop().time()
        if isinstance(result, Summary):
            _say(table_rows(result))
        elif isinstance(result, FrameResult) and now - self._said_at > PROGRESS_SECONDS:
            self._said_at = now
            _say(f"frame {result.index}, {result.time:.1f} s")


@contextmanager
def _open_out(path: Path | None) -> Generator[TextIO]:
    if path is None:
        yield sys.stdout
        return
    with path.open("w", encoding="utf-8") as file:
        yield file


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
