"""How decode children end, whoever ends them, and that nothing is left of them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from service.domain.arrays import Bytes
from service.domain.choices import Choices
from service.domain.clip import Chunk, Extract
from service.errors import (
    CircumplexError,
    DecoderCrashed,
    DecoderKilled,
    DecoderTimedOut,
)
from service.extraction.chain import produce
from service.extraction.options import Options
from service.features.sighting import Sighting
from service.nursery.child import Patience, run_child
from service.nursery.nursery import Nursery
from tests.media.children import (
    SETTINGS,
    Reader,
    children,
    drain,
    has_ended,
    nurses,
    only_nurse,
    status_of,
)
from tests.media.factory import PictureTrack, write

LONG = PictureTrack(size=(128, 128), count=320)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("clips") / "long.mp4", LONG)


@pytest.fixture(scope="module")
def brief(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("clips") / "brief.mp4", PictureTrack(count=5))


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (signal.SIGKILL, DecoderKilled),
        (signal.SIGSEGV, DecoderCrashed),
        (signal.SIGABRT, DecoderCrashed),
        (signal.SIGXCPU, DecoderTimedOut),
    ],
)
async def test_a_signal_that_ends_the_child_says_whose_fault_it_was(
    reader: Reader, long: Path, number: signal.Signals, error: type[CircumplexError]
) -> None:
    async with reader.open(long) as messages:
        await anext(messages)
        assert isinstance(await anext(messages), Chunk)
        os.kill(*children(), number)
        with pytest.raises(error) as raised:
            await drain(messages)
    assert raised.value.retryable is (error is DecoderKilled)
    assert not children()


PATIENCE = Patience(stall_seconds=60.0, wall_seconds=60.0, cpu_seconds=1)


async def test_a_child_that_does_not_heed_its_last_warning_is_at_fault() -> None:
    async with (
        _closing(Nursery("tests.media.heedless", [])) as nursery,
        run_child(nursery, b"-", [], PATIENCE, max_frames=32) as messages,
    ):
        with pytest.raises(DecoderTimedOut, match="processor time"):
            await drain(messages)


@asynccontextmanager
async def _closing(nursery: Nursery) -> AsyncIterator[Nursery]:
    try:
        yield nursery
    finally:
        await nursery.close()


async def test_a_lost_nursery_takes_its_child_along_and_is_replaced(
    reader: Reader, long: Path, brief: Path
) -> None:
    async with reader.open(long) as messages:
        await anext(messages)
        lost, (child,) = await only_nurse(), children()
        lost.kill()
        with pytest.raises(DecoderKilled) as raised:
            await drain(messages)
    assert raised.value.retryable
    assert len(await reader.read(brief)) == 3
    assert await has_ended(child)
    assert not children()


async def test_a_nursery_that_does_not_answer_is_ended(
    reader: Reader, long: Path, brief: Path
) -> None:
    async with reader.open(long) as messages:
        await anext(messages)
        stopped = await only_nurse()
        stopped.suspend()
    await asyncio.to_thread(stopped.wait, 60)
    assert len(await reader.read(brief)) == 3


async def test_a_crash_renews_the_nursery_and_spares_the_clips_beside_it(
    reader: Reader, long: Path, brief: Path
) -> None:
    async with reader.open(long) as messages:
        await anext(messages)
        before = children()
        async with reader.open(long) as others:
            await anext(others)
            (child,) = children() - before
            os.kill(child, signal.SIGSEGV)
            with pytest.raises(DecoderCrashed):
                await drain(others)
        first = {nurse.pid for nurse in nurses()}
        assert len(await reader.read(brief)) == 3
        assert {nurse.pid for nurse in nurses()} - first
        assert isinstance(await anext(messages), Chunk)
    assert not children()


async def test_a_child_holds_nothing_but_its_pipes_and_its_clip(brief: Path) -> None:
    with brief.open("rb") as clip:
        async with (
            _closing(Nursery("tests.media.inventory", [])) as nursery,
            run_child(nursery, b"-", [clip.fileno()], PATIENCE, max_frames=32) as messages,
        ):
            with pytest.raises(DecoderCrashed) as raised:
                await drain(messages)
    assert raised.value.detail.split() == [*sorted(["/dev/null", str(brief)]), *["pipe"] * 3]


async def test_a_child_is_confined_while_it_decodes(reader: Reader, long: Path) -> None:
    async with reader.open(long) as messages:
        await anext(messages)
        (child,) = children()
        status = status_of(child)
        assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
        assert "0" not in status["Uid"].split() + status["Gid"].split()


async def test_a_machine_without_the_layers_says_so_and_reads_clips(brief: Path) -> None:
    below = (sys.executable, "-m", "tests.unit.sandbox.old_kernel", "tests.media.owner")
    reading = await asyncio.create_subprocess_exec(*below, str(brief), stdout=PIPE, stderr=PIPE)
    said, logged = (part.decode() for part in await reading.communicate())
    assert said == "opened\n5 frames\n"
    assert "WARNING" in logged
    assert "decode children lack layers of their sandbox" in logged
    for layer in ("seccomp", "landlock", "network namespace"):
        assert f"{layer}: " in logged


async def test_an_owner_that_is_gone_leaves_nobody_behind(long: Path) -> None:
    owner = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.media.owner", str(long), "wait"), stdout=PIPE, stderr=DEVNULL
    )
    assert owner.stdout is not None
    assert (await owner.stdout.readline()).strip() == b"opened"
    family = psutil.Process(owner.pid).children(recursive=True)
    assert len(family) == 2
    owner.kill()
    await owner.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, family, 60)
    assert not alive


async def _read_and_stop(opening: AbstractAsyncContextManager[AsyncIterator[Extract]]) -> None:
    async with opening as messages:
        await anext(messages)
        os.kill(*children(), signal.SIGSTOP)
        await drain(messages)


async def test_a_child_that_stands_still_is_ended(reader: Reader, long: Path) -> None:
    with pytest.raises(DecoderTimedOut):
        await _read_and_stop(reader.open(long, decode_stall_seconds=1.5))
    assert not children()


async def test_a_clip_that_is_waited_for_too_long_in_all_is_given_up(
    reader: Reader, long: Path
) -> None:
    with pytest.raises(DecoderTimedOut):
        await _read_and_stop(reader.open(long, decode_wall_seconds=1.5))
    assert not children()


async def test_a_clip_that_takes_too_much_processor_time_is_given_up(
    reader: Reader, tmp_path: Path
) -> None:
    grey = np.full((480, 640, 3), 128, np.uint8)
    track = PictureTrack(size=(640, 480), count=1500, picture=grey, options={"preset": "ultrafast"})
    clip = write(tmp_path / "long.mp4", track)
    with pytest.raises(DecoderTimedOut, match="processor time"):
        await reader.read(clip, decode_cpu_seconds=1)


async def test_leaving_early_leaves_no_process(reader: Reader, long: Path) -> None:
    async with reader.open(long) as messages:
        await anext(messages)
        assert len(children()) == 1
    assert not children()
    async with reader.open(long):
        pass
    assert not children()


async def test_cancelling_leaves_no_process(reader: Reader, long: Path) -> None:
    started = asyncio.Event()

    async def read_on() -> None:
        async with reader.open(long) as messages:
            async for _ in messages:
                started.set()

    reading = asyncio.create_task(read_on())
    await started.wait()
    assert len(children()) == 1
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert not children()


async def test_a_child_waits_for_a_slow_reader(reader: Reader, long: Path) -> None:
    """The pipe is the bound: an unread child comes to rest, and goes on when read."""
    async with reader.open(long, chunk_frames=64) as messages:
        await anext(messages)
        (child,) = children()
        used, before = _cpu_ticks(child), -1
        while used != before:
            before = used
            await asyncio.sleep(0.5)
            used = _cpu_ticks(child)
        chunks = [message async for message in messages]
    assert sum(len(chunk.frames) for chunk in chunks if isinstance(chunk, Chunk)) == 320


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


class Failing:
    """A face finder with a defect."""

    is_crowded = False

    def find(self, picture: Bytes) -> list[Sighting]:
        raise ZeroDivisionError(picture.shape)


def test_a_defect_ends_the_decode_thread_before_the_clip_is_closed(long: Path) -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        list(produce(long, Options.of(Choices(), SETTINGS), Failing()))
    # the traceback still holds the chain, so nothing but `produce` itself can have ended it
    assert raised.tb is not None
    assert [thread for thread in threading.enumerate() if thread.name == "decode"] == []
