"""The command `circumplex-client live`."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import Final, TextIO
from urllib.parse import urlsplit

from circumplex_client.errors import ClientError
from circumplex_client.live.client import LiveClient, Tls
from circumplex_client.live.inputs import capture_camera, read_pipe, stream_file
from circumplex_client.live.media import ContainerInput, FrameInput, LiveStreamOptions, MediaChunk
from circumplex_client.live.media_source import read_until_stopped
from circumplex_client.live.output import TABLE_HEADER, format_json, format_table_rows
from circumplex_client.live.results import FrameResult, LiveResult, StreamAccepted, StreamSummary

PROGRESS_INTERVAL_SECONDS: Final = 5.0
INTERRUPTED_EXIT_CODE: Final = 130
SCHEMES: Final = ("grpc", "grpcs")


def run_live(args: argparse.Namespace) -> int:
    """Run the command; returns 0 after a complete stream, 1 if it failed, 2 if it cannot start."""
    if (args.camera is None) == (args.source is None):
        _print_status("name a file, - for standard input, or --camera DEVICE")
        return 2
    try:
        client = _build_client(args)
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
    """One stream, from an input to a file or the terminal."""

    def __init__(self, args: argparse.Namespace, out: TextIO) -> None:
        self._args = args
        self._out = out
        output_format = args.format or ("table" if out.isatty() else "ndjson")
        self._is_table = output_format == "table"
        self._stopping = asyncio.Event()
        self._progress_printed_at = 0.0
        self._summary = ""
        self._classes: tuple[str, ...] = ()

    async def run(self, client: LiveClient) -> int:
        """Stream to the end; returns 0, or 130 after a second Ctrl-C."""
        task = asyncio.current_task()
        assert task is not None
        with _signals_handled(self._stopping, task, _print_status):
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
                read_until_stopped(self._stopping, _open_media(self._args)),
                _build_options(self._args),
                on_accepted=self._print_accepted,
                on_interrupted=lambda error, seconds: _print_status(
                    f"{error}; again in {seconds:.1f} s"
                ),
            )
            async with aclosing(results):
                async for result in results:
                    format_result = format_table_rows if self._is_table else format_json
                    self._print(format_result(result, self._classes))
                    if not self._is_table:
                        self._print_progress(result)

    def _print(self, line: str) -> None:
        print(line, file=self._out, flush=True)

    def _print_accepted(self, accepted: StreamAccepted) -> None:
        self._classes = accepted.classes
        _print_status(f"stream {accepted.stream_id} is under way; Ctrl-C ends it")
        if accepted.model_summary != self._summary:
            self._summary = accepted.model_summary
            _print_status(self._summary)

    def _print_progress(self, result: LiveResult) -> None:
        """Print progress to standard error, where the output is JSON."""
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


@contextmanager
def _signals_handled(
    stop_event: asyncio.Event, task: asyncio.Task[object], print_status: Callable[[str], None]
) -> Generator[None]:
    """Set `stop_event` on the first SIGINT or SIGTERM, cancel the task on the second."""

    def handle_signal() -> None:
        if stop_event.is_set():
            task.cancel()
        else:
            print_status("ending the stream, its last results are coming; Ctrl-C leaves at once")
            stop_event.set()

    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError):  # Windows: Ctrl-C ends everything
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, handle_signal)
    yield


def _build_client(args: argparse.Namespace) -> LiveClient:
    """Build the client; raises ValueError for an invalid URL, OSError for missing PEM files."""
    url: str = args.url
    address = urlsplit(url)
    if address.scheme not in SCHEMES or not address.netloc or address.path.strip("/"):
        raise ValueError(f"{url} is not a gRPC address: use grpc://HOST:PORT or grpcs://HOST:PORT")
    files: tuple[Path | None, ...] = (args.ca_file, args.cert_file, args.key_file)
    ca, certificate, key = (file and file.read_bytes() for file in files)
    tls = Tls(ca=ca, certificate=certificate, key=key) if address.scheme == "grpcs" else False
    return LiveClient(address.netloc, api_key=args.api_key, tls=tls, proxy=args.proxy)


def _build_options(args: argparse.Namespace) -> LiveStreamOptions:
    media = FrameInput()
    if args.camera is None:
        media = ContainerInput(video_stream=args.video_stream, audio_stream=args.audio_stream)
    default_overload = "block" if args.camera is None else "drop_oldest"
    return LiveStreamOptions(
        media=media,
        faces=args.faces,
        overload=args.overload or default_overload,
        finals_only=args.finals_only,
        model=args.model,
    )


def _open_media(args: argparse.Namespace) -> AsyncGenerator[MediaChunk]:
    if args.camera is not None:
        return capture_camera(args.camera, kind=args.camera_kind)
    if args.source == "-":
        return read_pipe(sys.stdin.buffer)
    return stream_file(Path(args.source), realtime=args.realtime)


def _print_status(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - messages of a command line
