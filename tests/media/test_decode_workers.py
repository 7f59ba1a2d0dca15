"""Ends of decode processes, by themselves, by signals, with their parents; none is left over."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import psutil
import pytest

from service.decoding.forkserver.client import Forkserver
from service.decoding.requests import DecodeRequest
from service.decoding.worker.clip import extract_clip
from service.decoding.worker_reader import ReadTimeouts, read_clip, run_decode_process
from service.domain.array_types import UInt8Array
from service.domain.clip import Chunk, ExtractionEvent
from service.domain.options import AnalysisOptions
from service.domain.planar_picture import PlanarPicture
from service.errors import (
    CircumplexError,
    DecoderCrashed,
    DecoderKilled,
    DecoderStalled,
    DecoderTimedOut,
)
from service.faces.detections import MeshTrackerSnapshot, TrackedDetection
from tests.media.clip_factory import VideoTrack, encode_clip
from tests.media.decode_workers import (
    SETTINGS,
    Reader,
    decode_worker_pids,
    drain,
    find_forkservers,
    has_ended,
    read_process_status,
    until,
    wait_for_single_forkserver,
    wait_for_single_worker,
    work_account,
)
from training.synthetic.actor import Actor
from training.synthetic.expression import Expression
from training.synthetic.face import draw_face

LONG_TRACK = VideoTrack(size=(128, 128), count=320)


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode_clip(tmp_path_factory.mktemp("clips") / "long.mp4", LONG_TRACK)


@pytest.fixture(scope="module")
def short_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode_clip(tmp_path_factory.mktemp("clips") / "brief.mp4", VideoTrack(count=5))


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (signal.SIGKILL, DecoderKilled),
        (signal.SIGSEGV, DecoderCrashed),
        (signal.SIGABRT, DecoderCrashed),
        (signal.SIGXCPU, DecoderTimedOut),
    ],
)
async def test_fatal_signal_maps_to_a_typed_error(
    reader: Reader, long_clip: Path, number: signal.Signals, error: type[CircumplexError]
) -> None:
    async with reader.open(long_clip) as messages:
        await anext(messages)
        assert isinstance(await anext(messages), Chunk)
        os.kill(await wait_for_single_worker(), number)
        with pytest.raises(error) as raised:
            await drain(messages)
    assert raised.value.retryable is (error is DecoderKilled)
    assert not decode_worker_pids()


async def test_unexpected_error_is_reported_with_its_text_and_logged(
    reader: Reader, short_clip: Path, caplog: pytest.LogCaptureFixture
) -> None:
    too_few = -(2**40)  # PyAV cannot pass it to FFmpeg
    with pytest.raises(DecoderCrashed, match="OverflowError: ") as raised:
        await reader.read(short_clip, decode_threads=too_few)
    assert not raised.value.retryable
    assert "Traceback" in caplog.text
    assert not decode_worker_pids()
    assert len(await reader.read(short_clip)) == 3


READ_TIMEOUTS = ReadTimeouts(stall_seconds=60.0, wall_seconds=60.0, cpu_seconds=1)


async def test_worker_that_ignores_sigxcpu_times_out() -> None:
    async with (
        _closing_forkserver(Forkserver("tests.media.sigxcpu_ignoring_forkserver")) as forkserver,
        run_decode_process(
            forkserver, b"-", [], READ_TIMEOUTS, work_account(), max_frames=32
        ) as worker,
    ):
        with pytest.raises(DecoderTimedOut, match="processor time"):
            await drain(read_clip(worker))


@asynccontextmanager
async def _closing_forkserver(forkserver: Forkserver) -> AsyncGenerator[Forkserver]:
    try:
        yield forkserver
    finally:
        await forkserver.close()


async def test_killing_the_forkserver_ends_its_worker_and_it_is_replaced(
    reader: Reader, long_clip: Path, short_clip: Path
) -> None:
    async with reader.open(long_clip) as messages:
        await anext(messages)
        forkserver, worker = await wait_for_single_forkserver(), await wait_for_single_worker()
        forkserver.kill()
        with pytest.raises(DecoderKilled) as raised:
            await drain(messages)
    assert raised.value.retryable
    assert len(await reader.read(short_clip)) == 3
    await until(lambda: has_ended(worker))
    assert not decode_worker_pids()


async def test_unresponsive_forkserver_is_killed(
    reader: Reader, long_clip: Path, short_clip: Path
) -> None:
    async with reader.open(long_clip) as messages:
        await anext(messages)
        stopped = await wait_for_single_forkserver()
        stopped.suspend()
    await asyncio.to_thread(stopped.wait, 60)
    assert len(await reader.read(short_clip)) == 3


async def test_worker_crash_replaces_the_forkserver_and_other_clips_succeed(
    reader: Reader, long_clip: Path, short_clip: Path
) -> None:
    async with reader.open(long_clip) as messages:
        await anext(messages)
        before = decode_worker_pids()
        async with reader.open(long_clip) as others:
            await anext(others)
            (worker,) = decode_worker_pids() - before
            os.kill(worker, signal.SIGSEGV)
            with pytest.raises(DecoderCrashed):
                await drain(others)
        first = {each.pid for each in find_forkservers()}
        assert len(await reader.read(short_clip)) == 3
        assert {each.pid for each in find_forkservers()} - first
        assert isinstance(await anext(messages), Chunk)
    assert not decode_worker_pids()


async def test_worker_inherits_only_its_pipes_and_its_clip(short_clip: Path) -> None:
    with short_clip.open("rb") as clip:
        async with (
            _closing_forkserver(
                Forkserver("tests.media.handle_reporting_forkserver")
            ) as forkserver,
            run_decode_process(
                forkserver, b"-", [clip.fileno()], READ_TIMEOUTS, work_account(), max_frames=32
            ) as worker,
        ):
            with pytest.raises(DecoderCrashed) as raised:
                await drain(read_clip(worker))
    assert raised.value.detail.split() == [*sorted(["/dev/null", str(short_clip)]), *["pipe"] * 3]


async def test_worker_is_sandboxed_while_it_decodes(reader: Reader, long_clip: Path) -> None:
    async with reader.open(long_clip) as messages:
        await anext(messages)
        status = read_process_status(await wait_for_single_worker())
        assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
        assert "0" not in status["Uid"].split() + status["Gid"].split()


async def test_worker_is_a_session_of_its_own(reader: Reader, long_clip: Path) -> None:
    async with reader.open(long_clip) as messages:
        await anext(messages)
        worker = await wait_for_single_worker()
        assert os.getsid(worker) == worker


async def test_missing_sandbox_layers_are_logged_and_clips_still_decode(short_clip: Path) -> None:
    command = (
        sys.executable,
        "-m",
        "tests.unit.decoding.sandbox.old_kernel",
        "tests.media.parent_process",
    )
    parent = await asyncio.create_subprocess_exec(
        *command, str(short_clip), stdout=PIPE, stderr=PIPE
    )
    output, log = (part.decode() for part in await parent.communicate())
    assert output == "opened\n5 frames\n"
    assert "WARNING" in log
    assert "decode processes lack layers of their sandbox" in log
    for layer in ("seccomp", "landlock", "network namespace"):
        assert f"{layer}: " in log


async def test_no_process_outlives_a_killed_parent(long_clip: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.media.parent_process", str(long_clip), "wait"),
        stdout=PIPE,
        stderr=DEVNULL,
    )
    assert parent.stdout is not None
    assert (await parent.stdout.readline()).strip() == b"opened"
    descendants = psutil.Process(parent.pid).children(recursive=True)
    assert len(descendants) == 2
    parent.kill()
    await parent.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, descendants, 60)
    assert not alive


async def _read_from_stopped_worker(
    opening: AbstractAsyncContextManager[AsyncIterator[ExtractionEvent]],
) -> None:
    async with opening as messages:
        await anext(messages)
        os.kill(await wait_for_single_worker(), signal.SIGSTOP)
        await drain(messages)


async def test_stalled_worker_times_out(reader: Reader, long_clip: Path) -> None:
    with pytest.raises(DecoderStalled):
        await _read_from_stopped_worker(reader.open(long_clip, decode_stall_seconds=1.5))
    assert not decode_worker_pids()


async def test_wall_time_limit_ends_a_clip(reader: Reader, long_clip: Path) -> None:
    with pytest.raises(DecoderStalled):
        await _read_from_stopped_worker(reader.open(long_clip, decode_wall_seconds=1.5))
    assert not decode_worker_pids()


async def test_cpu_time_limit_ends_a_clip(reader: Reader, tmp_path: Path) -> None:
    person = draw_face(Actor.from_seed(3), Expression(), height=720, width=1280)
    track = VideoTrack(
        size=(1280, 720), count=1500, picture=person, options={"preset": "ultrafast"}
    )
    clip = encode_clip(tmp_path / "long.mp4", track)
    with pytest.raises(DecoderTimedOut, match="processor time"):
        await reader.read(clip, decode_cpu_seconds=1)


async def test_closing_the_reader_early_leaves_no_process(reader: Reader, long_clip: Path) -> None:
    async with reader.open(long_clip) as messages:
        await anext(messages)
        assert len(decode_worker_pids()) == 1
    assert not decode_worker_pids()
    async with reader.open(long_clip):
        pass
    assert not decode_worker_pids()


async def test_cancelling_the_reader_leaves_no_process(reader: Reader, long_clip: Path) -> None:
    started = asyncio.Event()

    async def read_all() -> None:
        async with reader.open(long_clip) as messages:
            async for _ in messages:
                started.set()

    reading = asyncio.create_task(read_all())
    await started.wait()
    assert len(decode_worker_pids()) == 1
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert not decode_worker_pids()


async def test_unread_worker_blocks_until_it_is_read(reader: Reader, long_clip: Path) -> None:
    """The pipe applies back-pressure: an unread worker stops, and continues when read."""
    async with reader.open(long_clip, chunk_frames=64) as messages:
        await anext(messages)
        worker = await wait_for_single_worker()
        used, before = _cpu_ticks(worker), -1
        while used != before:  # processor time that stands still is the condition
            before = used
            await asyncio.sleep(0.5)
            used = _cpu_ticks(worker)
        chunks = [message async for message in messages]
    assert sum(len(chunk.frames) for chunk in chunks if isinstance(chunk, Chunk)) == 320


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


class FailingFaceFinder:
    """A face finder with a defect."""

    is_crowded = False

    def snapshot(self) -> None:
        return None

    def restore(self, snapshot: MeshTrackerSnapshot | None) -> None:
        raise AssertionError(snapshot)

    def find(
        self, picture: PlanarPicture | UInt8Array, time_seconds: float | None = None
    ) -> list[TrackedDetection]:
        raise ZeroDivisionError(picture.shape, time_seconds)


def test_face_finder_error_ends_the_decode_thread(long_clip: Path) -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        list(
            extract_clip(
                long_clip,
                DecodeRequest.from_settings(AnalysisOptions(), SETTINGS, 2**30),
                FailingFaceFinder(),
            )
        )
    # the traceback still references the generators, so only `prefetch` can have ended the thread
    assert raised.tb is not None
    assert [thread for thread in threading.enumerate() if thread.name == "decode"] == []
