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
from circumplex_client.live.files import has_late_index, play
from grpc import StatusCode

from tests.integration.stand_in import StandIn, refusal, serving_streams
from tests.integration.streaming import FRAMES, container, truth_of
from training.synthetic.clip import render_demo_clip

WHOLE = b"".join(piece.data for piece in container())
SECONDS = 1.0


@pytest.fixture
async def stand_in() -> StandIn:
    return StandIn()


@pytest.fixture
async def url(stand_in: StandIn) -> AsyncGenerator[str]:
    async with serving_streams(stand_in) as port:
        yield f"grpc://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def late_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MP4 as most programs write it: its index comes last."""
    path = tmp_path_factory.mktemp("clips") / "late.mp4"
    render_demo_clip(path, seconds=SECONDS, height=120, width=160)
    return path


@asynccontextmanager
async def command(*arguments: str, stdin: int = DEVNULL) -> AsyncGenerator[Process]:
    """`circumplex-client live`, killed if it outlasts the context."""
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


def finals_in(lines: bytes) -> list[float]:
    """What was printed of them, as far as the stand-in makes anything of frames."""
    printed: list[dict[str, Any]] = [json.loads(line) for line in lines.splitlines()]
    finals = [each for each in printed if each["type"] == "frame" and each["is_final"]]
    assert [each["index"] for each in finals] == list(range(len(finals)))
    return [each["tracks"][0]["estimate"]["valence"] for each in finals]


async def test_what_is_piped_in_is_annotated(url: str, stand_in: StandIn) -> None:
    async with command("-", "--url", url, "--faces", "all", stdin=PIPE) as process:
        out, err = await process.communicate(WHOLE)

    assert process.returncode == 0
    assert finals_in(out) == truth_of(container())
    assert json.loads(out.splitlines()[-1])["type"] == "summary"
    assert "stream stream0 is under way" in err.decode()
    assert f"{FRAMES} frames; 0 dropped; no face" in err.decode()
    assert stand_in.metadata[0]["authorization"] == "Bearer cpx_of_the_environment"
    assert stand_in.configs[0].WhichOneof("media") == "container"


async def test_ctrl_c_ends_the_stream_and_not_its_results(url: str) -> None:
    async with command("-", "--url", url, stdin=PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(WHOLE)
        await process.stdin.drain()
        printed = [await process.stdout.readline() for _ in range(FRAMES)]
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            rest = await process.stdout.read()
            assert await process.wait() == 0

    assert finals_in(b"".join(printed) + rest) == truth_of(container())


async def test_ctrl_c_twice_leaves_at_once(url: str, stand_in: StandIn) -> None:
    stand_in.is_silent = True
    async with command("-", "--url", url, stdin=PIPE) as process:
        assert process.stderr is not None
        await process.stderr.readuntil(b"under way")
        process.send_signal(signal.SIGINT)
        await process.stderr.readuntil(b"leaves at once")
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            assert await process.wait() == 130


async def test_a_file_is_annotated_into_a_file(url: str, tmp_path: Path) -> None:
    clip, out = tmp_path / "clip.ts", tmp_path / "out.ndjson"
    clip.write_bytes(WHOLE)
    arguments = (str(clip), "--url", url, "--fast", "--finals-only", "--out", str(out))
    async with command(*arguments) as process:
        printed, _ = await process.communicate()

    assert (process.returncode, printed) == (0, b"")
    assert finals_in(out.read_bytes()) == truth_of(container())


async def test_a_table_has_a_row_for_each_result(url: str, tmp_path: Path) -> None:
    clip = tmp_path / "clip.ts"
    clip.write_bytes(WHOLE)
    async with command(str(clip), "--url", url, "--fast", "--format", "table") as process:
        printed, _ = await process.communicate()

    head, *rows, end = printed.decode().splitlines()
    assert head.split() == ["frame", "time", "valence", "arousal", "spread", "track"]
    first = truth_of(container())[0]
    assert rows[0].split() == ["~", "0", "0.000", f"{first:+.3f}", "+0.500", "0.000", "1"]
    assert sum(row.startswith("=") for row in rows) == FRAMES
    assert end.startswith(f"{FRAMES} frames; 0 dropped")


async def test_a_camera_sends_jpeg_frames_and_their_times(url: str, stand_in: StandIn) -> None:
    device = "testsrc=size=64x48:rate=25:duration=0.4"
    async with command("--camera", device, "--camera-kind", "lavfi", "--url", url) as process:
        out, _ = await process.communicate()

    assert len(finals_in(out)) == 10
    (told,) = stand_in.streams.values()
    assert [time for time, _ in told.frames] == pytest.approx([index / 25 for index in range(10)])
    for _, data in told.frames:
        with av.open(io.BytesIO(data), format="image2pipe") as picture:
            assert next(picture.decode(video=0)).width == 64


async def test_what_the_service_refuses_is_told_in_a_line(url: str, stand_in: StandIn) -> None:
    stand_in.refusals = [refusal(StatusCode.UNAUTHENTICATED, "unauthenticated")]
    async with command("-", "--url", url) as process:
        out, err = await process.communicate()

    assert (process.returncode, out) == (1, b"")
    assert err == b"It cannot be: because of unauthenticated [unauthenticated]\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("-", "--url", "http://127.0.0.1:8080"), "grpc://HOST:PORT"),
        ((), "name a file"),
        (("-", "--url", "grpcs://127.0.0.1:1", "--ca-file", "no.pem"), "No such file"),
    ],
    ids=["an address of REST", "nothing to send", "no certificate"],
)
def test_what_cannot_begin_is_told_in_a_line(
    arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["live", *arguments]) == 2

    printed = capsys.readouterr()
    assert told in printed.err
    assert (printed.out, printed.err.count("\n")) == ("", 1)


async def test_a_late_index_is_put_where_a_stream_needs_it(late_clip: Path, tmp_path: Path) -> None:
    early = tmp_path / "early.mp4"
    early.write_bytes(await played(late_clip, realtime=False))

    assert has_late_index(late_clip)
    assert not has_late_index(early)
    assert facts_of(early) == facts_of(late_clip)
    assert await played(early, realtime=False) == early.read_bytes()


async def test_a_file_plays_as_long_as_it_is(late_clip: Path, tmp_path: Path) -> None:
    early = tmp_path / "early.mp4"
    early.write_bytes(await played(late_clip, realtime=False))
    loop = asyncio.get_running_loop()
    started = loop.time()
    whole = await played(early, realtime=True)

    assert whole == early.read_bytes()
    assert loop.time() - started > 0.6 * SECONDS


async def played(path: Path, *, realtime: bool) -> bytes:
    return b"".join([piece.data async for piece in play(path, realtime=realtime)])


def facts_of(path: Path) -> list[tuple[object, ...]]:
    """Time and content of each picture and of the sound, decoded."""
    facts: list[tuple[object, ...]] = []
    for kind in ("video", "audio"):
        with av.open(path) as clip:
            facts += [
                (kind, frame.time, hash(frame.to_ndarray().tobytes()))
                for frame in clip.decode(**{kind: 0})
            ]
    return facts
