"""`circumplex-client live`: sources, output, interruption, errors."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import av
import pytest
from circumplex_client.__main__ import main
from circumplex_client.live.inputs import has_late_index, stream_file
from grpc import StatusCode

from tests.integration.fake_media import FRAME_COUNT, expected_valences, make_container
from tests.integration.stub_gateway import (
    StubAnnotationServicer,
    make_error_status,
    serving_streams,
)
from training.synthetic.clip import render_demo_clip

CONTAINER_BYTES = b"".join(piece.data for piece in make_container())
CLIP_SECONDS = 1.0


@pytest.fixture
async def servicer() -> StubAnnotationServicer:
    return StubAnnotationServicer()


@pytest.fixture
async def url(servicer: StubAnnotationServicer) -> AsyncGenerator[str]:
    async with serving_streams(servicer) as port:
        yield f"grpc://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def trailing_index_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MP4 with its index at the end, as most programs write it."""
    path = tmp_path_factory.mktemp("clips") / "late.mp4"
    render_demo_clip(path, seconds=CLIP_SECONDS, height=120, width=160)
    return path


@asynccontextmanager
async def running_command(*arguments: str, stdin: int = DEVNULL) -> AsyncGenerator[Process]:
    """Run `circumplex-client live`; killed if it outlasts the context."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "circumplex_client", "live", *arguments),
        stdin=stdin,
        stdout=PIPE,
        stderr=PIPE,
        env=os.environ | {"CIRCUMPLEX_API_KEY": "cpx_of_the_environment"},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def parse_final_valences(lines: bytes) -> list[float]:
    """Parse the valences of the printed final results."""
    printed: list[dict[str, Any]] = [json.loads(line) for line in lines.splitlines()]
    finals = [each for each in printed if each["type"] == "frame" and each["is_final"]]
    assert [each["index"] for each in finals] == list(range(len(finals)))
    return [each["tracks"][0]["estimate"]["valence"] for each in finals]


async def test_standard_input_is_annotated(url: str, servicer: StubAnnotationServicer) -> None:
    servicer.model = "net@1"
    options = ("--url", url, "--faces", "all", "--model", "net")
    async with running_command("-", *options, stdin=PIPE) as process:
        out, err = await process.communicate(CONTAINER_BYTES)

    assert process.returncode == 0
    assert parse_final_valences(out) == expected_valences(make_container())
    assert json.loads(out.splitlines()[-1])["type"] == "summary"
    assert "stream stream0 is under way" in err.decode()
    assert err.decode().count("Model net@1: not to be believed.") == 1
    assert servicer.configs[0].model == "net"
    assert f"{FRAME_COUNT} frames; 0 dropped; no face" in err.decode()
    assert servicer.metadata[0]["authorization"] == "Bearer cpx_of_the_environment"
    assert servicer.configs[0].WhichOneof("media") == "container"


async def test_ctrl_c_ends_the_media_and_pending_results_are_printed(url: str) -> None:
    async with running_command("-", "--url", url, stdin=PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(CONTAINER_BYTES)
        await process.stdin.drain()
        printed = [await process.stdout.readline() for _ in range(FRAME_COUNT)]
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            rest = await process.stdout.read()
            assert await process.wait() == 0

    assert parse_final_valences(b"".join(printed) + rest) == expected_valences(make_container())


async def test_second_ctrl_c_exits_at_once(url: str, servicer: StubAnnotationServicer) -> None:
    servicer.never_finishes = True
    async with running_command("-", "--url", url, stdin=PIPE) as process:
        assert process.stderr is not None
        await process.stderr.readuntil(b"under way")
        process.send_signal(signal.SIGINT)
        await process.stderr.readuntil(b"leaves at once")
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            assert await process.wait() == 130


async def test_a_file_is_annotated_into_a_file(url: str, tmp_path: Path) -> None:
    clip, out = tmp_path / "clip.ts", tmp_path / "out.ndjson"
    clip.write_bytes(CONTAINER_BYTES)
    arguments = (str(clip), "--url", url, "--fast", "--finals-only", "--out", str(out))
    async with running_command(*arguments) as process:
        printed, _ = await process.communicate()

    assert (process.returncode, printed) == (0, b"")
    assert parse_final_valences(out.read_bytes()) == expected_valences(make_container())


async def test_a_table_has_a_row_for_each_result(url: str, tmp_path: Path) -> None:
    clip = tmp_path / "clip.ts"
    clip.write_bytes(CONTAINER_BYTES)
    async with running_command(str(clip), "--url", url, "--fast", "--format", "table") as process:
        printed, _ = await process.communicate()

    head, *rows, end = printed.decode().splitlines()
    assert head.split() == ["frame", "time", "valence", "arousal", "spread", "track"]
    first = expected_valences(make_container())[0]
    assert rows[0].split() == ["~", "0", "0.000", f"{first:+.3f}", "+0.500", "0.000", "1"]
    assert sum(row.startswith("=") for row in rows) == FRAME_COUNT
    assert end.startswith(f"{FRAME_COUNT} frames; 0 dropped")


async def test_a_camera_sends_jpeg_frames_and_their_times(
    url: str, servicer: StubAnnotationServicer
) -> None:
    device = "testsrc=size=64x48:rate=25:duration=0.4"
    async with running_command(
        "--camera", device, "--camera-kind", "lavfi", "--url", url
    ) as process:
        out, _ = await process.communicate()

    assert len(parse_final_valences(out)) == 10
    (stream,) = servicer.streams.values()
    assert [time for time, _ in stream.frames] == pytest.approx([index / 25 for index in range(10)])
    for _, data in stream.frames:
        with av.open(io.BytesIO(data), "r", format="image2pipe") as picture:
            assert next(picture.decode(video=0)).width == 64


async def test_a_service_error_is_printed_on_one_line(
    url: str, servicer: StubAnnotationServicer
) -> None:
    servicer.next_errors = [make_error_status(StatusCode.UNAUTHENTICATED, "unauthenticated")]
    async with running_command("-", "--url", url) as process:
        out, err = await process.communicate()

    assert (process.returncode, out) == (1, b"")
    assert err == b"It cannot be: because of unauthenticated [unauthenticated]\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-", "--url", "http://127.0.0.1:8080"), "grpc://HOST:PORT"),
        ((), "name a file"),
        (("-", "--url", "grpcs://127.0.0.1:1", "--ca-file", "no.pem"), "No such file"),
    ],
    ids=["an address of REST", "nothing to send", "no certificate"],
)
def test_a_usage_error_is_printed_on_one_line(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["live", *arguments]) == 2

    printed = capsys.readouterr()
    assert message in printed.err
    assert (printed.out, printed.err.count("\n")) == ("", 1)


async def test_a_trailing_index_is_moved_to_the_front(
    trailing_index_clip: Path, tmp_path: Path
) -> None:
    early = tmp_path / "early.mp4"
    early.write_bytes(await play_to_bytes(trailing_index_clip, realtime=False))

    assert has_late_index(trailing_index_clip)
    assert not has_late_index(early)
    assert decode_frames(early) == decode_frames(trailing_index_clip)
    assert await play_to_bytes(early, realtime=False) == early.read_bytes()


async def test_a_file_is_sent_in_real_time(trailing_index_clip: Path, tmp_path: Path) -> None:
    early = tmp_path / "early.mp4"
    early.write_bytes(await play_to_bytes(trailing_index_clip, realtime=False))
    loop = asyncio.get_running_loop()
    started = loop.time()
    whole = await play_to_bytes(early, realtime=True)

    assert whole == early.read_bytes()
    assert loop.time() - started > 0.6 * CLIP_SECONDS


async def play_to_bytes(path: Path, *, realtime: bool) -> bytes:
    return b"".join([piece.data async for piece in stream_file(path, realtime=realtime)])


def decode_frames(path: Path) -> list[tuple[object, ...]]:
    """Decode a file; returns kind, time and a hash of each video and audio frame."""
    frames: list[tuple[object, ...]] = []
    for kind in ("video", "audio"):
        with av.open(path) as clip:
            for frame in clip.decode(**{kind: 0}):
                assert isinstance(frame, av.VideoFrame | av.AudioFrame)
                frames.append((kind, frame.time, hash(frame.to_ndarray().tobytes())))
    return frames
