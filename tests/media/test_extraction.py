"""The decode child end to end: what it says, how it ends, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest

from service.domain.arrays import Bytes
from service.domain.choices import Choices
from service.domain.clip import Chunk, ClipClosed, ClipOpened, Extract, Flag, Missing
from service.domain.time import patch_start_hop
from service.errors import (
    CircumplexError,
    ClipNotMedia,
    ClipTooLong,
    ClipWithoutVideo,
    DecoderCrashed,
    DecoderKilled,
    DecoderTimedOut,
    FaceModelsMissing,
)
from service.extraction.chain import produce
from service.extraction.door import extract
from service.extraction.options import Options
from service.features.sighting import Sighting
from service.media.child import run_child
from service.settings import Settings
from tests.media.factory import PictureTrack, SoundTrack, clap, write
from tests.media.reading import locate, plain_times
from training.synthetic.clip import render_demo_clip

SETTINGS = Settings()
LONG = PictureTrack(size=(128, 128), count=320)


def settings(**changes: object) -> Settings:
    return SETTINGS.model_copy(update=changes)


async def read(clip: Path, options: Settings = SETTINGS) -> list[Extract]:
    async with extract(clip, Choices(), options) as messages:
        return [message async for message in messages]


async def drain(messages: AsyncIterator[Extract]) -> None:
    async for _ in messages:
        continue


def children() -> set[int]:
    """The decode children that this process started and has not reaped."""
    found = psutil.Process().children()
    return {child.pid for child in found if is_decoder(child)}


def is_decoder(child: psutil.Process) -> bool:
    """A zombie has no command line left, and counts: it should have been reaped."""
    return child.status() == psutil.STATUS_ZOMBIE or "service.extraction" in child.cmdline()


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clip = tmp_path_factory.mktemp("clips") / "spoken.mp4"
    render_demo_clip(clip, seconds=3.0, height=240, width=320)
    return clip


async def test_a_speaking_face_arrives_whole_and_in_order(spoken: Path) -> None:
    opened, *chunks, closed = await read(spoken)
    assert isinstance(opened, ClipOpened)
    assert isinstance(closed, ClipClosed)
    frames = [frame for chunk in chunks if isinstance(chunk, Chunk) for frame in chunk.frames]
    assert [frame.index for frame in frames] == list(range(75))
    assert [frame.time_seconds for frame in frames] == plain_times(spoken)
    assert all(frame.face is not None and frame.missing is None for frame in frames)
    assert (closed.frames, closed.flags) == (75, ())
    assert (opened.media.width, opened.media.height) == (320, 240)


async def test_chunks_hold_what_the_backbones_need(spoken: Path) -> None:
    chunks = [
        item for item in await read(spoken, settings(chunk_frames=32)) if isinstance(item, Chunk)
    ]
    assert [len(chunk.frames) for chunk in chunks] == [32, 32, 11]
    for chunk in chunks:
        faces = sum(frame.face is not None for frame in chunk.frames)
        assert chunk.crops.shape == (faces, 3, 112, 112)
        assert chunk.crops.dtype == np.uint8
        assert chunk.waveform.dtype == np.float32
        assert chunk.patch_starts.dtype == np.int64
        hops = [patch_start_hop(frame.time_seconds) for frame in chunk.frames]
        assert (chunk.patch_starts - chunk.patch_starts[0]).tolist() == [h - hops[0] for h in hops]
        assert chunk.patch_starts.max() * 160 + 15_600 <= len(chunk.waveform)
        assert set(chunk.stage_seconds) == {"decode", "face", "sound"}
        assert all(seconds > 0 for seconds in chunk.stage_seconds.values())


async def test_a_clap_is_in_the_patch_of_its_frame(tmp_path: Path) -> None:
    clip = write(
        tmp_path / "clip.mkv", PictureTrack(), SoundTrack(codec="pcm_s16le", claps_at=[2.0])
    )
    for chunk in await read(clip):
        if isinstance(chunk, Chunk):
            for frame, start in zip(chunk.frames, chunk.patch_starts, strict=True):
                patch = chunk.waveform[start * 160 : start * 160 + 15_600]
                ahead = 2.0 - frame.time_seconds
                if 0.02 < ahead < 0.9:
                    # the patch starts on the 10 ms grid, up to 5 ms from the frame
                    assert locate(patch, clap(16_000), near=ahead) == pytest.approx(
                        ahead, abs=0.006
                    )


async def test_a_clip_without_face_and_sound_says_both(tmp_path: Path) -> None:
    messages = await read(write(tmp_path / "clip.mp4", PictureTrack(count=20)))
    chunk, closed = messages[1:]
    assert isinstance(chunk, Chunk)
    assert isinstance(closed, ClipClosed)
    assert {frame.missing for frame in chunk.frames} == {Missing.FACE_NOT_FOUND}
    assert chunk.crops.shape == (0, 3, 112, 112)
    assert not chunk.waveform.any()
    assert set(closed.flags) == {Flag.NO_AUDIO, Flag.NO_FACE}


async def test_the_child_names_what_is_wrong_with_a_clip(tmp_path: Path) -> None:
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(b"no clip at all" * 50)
    with pytest.raises(ClipNotMedia):
        await read(junk)
    with pytest.raises(ClipWithoutVideo):
        await read(write(tmp_path / "sound.m4a", None, SoundTrack()))
    with pytest.raises(ClipTooLong):
        await read(write(tmp_path / "long.mp4", PictureTrack()), settings(max_clip_seconds=2.0))
    assert not children()


async def test_absent_face_models_are_named(tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.mp4", PictureTrack(count=2))
    with pytest.raises(FaceModelsMissing):
        await read(clip, settings(face_models_dir=tmp_path))
    with pytest.raises(FaceModelsMissing):
        await read(clip, settings(yunet_file=tmp_path / "absent.onnx"))


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("clips") / "long.mp4", LONG)


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
    long: Path, number: signal.Signals, error: type[CircumplexError]
) -> None:
    async with extract(long, Choices(), SETTINGS) as messages:
        await anext(messages)
        assert isinstance(await anext(messages), Chunk)
        os.kill(*children(), number)
        with pytest.raises(error) as raised:
            await drain(messages)
    assert raised.value.retryable is (error is DecoderKilled)
    assert not children()


async def test_a_child_that_does_not_heed_its_last_warning_is_at_fault() -> None:
    async with run_child(
        "tests.media.heedless", [], stall_seconds=60.0, cpu_seconds=1, most_frames=32
    ) as messages:
        with pytest.raises(DecoderTimedOut, match="processor time"):
            await drain(messages)


async def test_a_child_that_stands_still_is_ended(long: Path) -> None:
    async with extract(long, Choices(), settings(decode_stall_seconds=1.5)) as messages:
        await anext(messages)
        os.kill(*children(), signal.SIGSTOP)
        with pytest.raises(DecoderTimedOut):
            await drain(messages)
    assert not children()


async def test_a_clip_that_takes_too_much_processor_time_is_given_up(tmp_path: Path) -> None:
    grey = np.full((480, 640, 3), 128, np.uint8)
    track = PictureTrack(size=(640, 480), count=1500, picture=grey, options={"preset": "ultrafast"})
    clip = write(tmp_path / "long.mp4", track)
    with pytest.raises(DecoderTimedOut, match="processor time"):
        await read(clip, settings(decode_cpu_seconds=1))


async def test_leaving_early_leaves_no_process(long: Path) -> None:
    async with extract(long, Choices(), SETTINGS) as messages:
        await anext(messages)
        assert len(children()) == 1
    assert not children()
    async with extract(long, Choices(), SETTINGS):
        pass
    assert not children()


async def test_cancelling_leaves_no_process(long: Path) -> None:
    started = asyncio.Event()

    async def read_on() -> None:
        async with extract(long, Choices(), SETTINGS) as messages:
            async for _ in messages:
                started.set()

    reading = asyncio.create_task(read_on())
    await started.wait()
    assert len(children()) == 1
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert not children()


async def test_a_child_waits_for_a_slow_reader(long: Path) -> None:
    """The pipe is the bound: an unread child comes to rest, and goes on when read."""
    async with extract(long, Choices(), settings(chunk_frames=64)) as messages:
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

    def find(self, picture: Bytes) -> Sighting | None:
        raise ZeroDivisionError(picture.shape)


def test_a_defect_ends_the_decode_thread_before_the_clip_is_closed(long: Path) -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        list(produce(Options.of(long, Choices(), SETTINGS), Failing()))
    # the traceback still holds the chain, so nothing but `produce` itself can have ended it
    assert raised.tb is not None
    assert [thread for thread in threading.enumerate() if thread.name == "decode"] == []


async def test_too_little_memory_is_a_typed_error(tmp_path: Path) -> None:
    track = PictureTrack(size=(8192, 4320), count=1, options={"preset": "ultrafast"})
    clip = write(tmp_path / "clip.mp4", track)
    with pytest.raises(DecoderCrashed, match="memory"):
        await read(clip, settings(decode_memory_bytes=2**28))
    assert len(await read(clip)) == 3


async def test_clips_are_read_side_by_side(spoken: Path, tmp_path: Path) -> None:
    times = [Fraction(k, 7) for k in range(9)]
    other = write(tmp_path / "clip.mkv", PictureTrack(times=times))
    one, two = await asyncio.gather(read(spoken), read(other))
    assert isinstance(one[-1], ClipClosed)
    assert isinstance(two[-1], ClipClosed)
    assert (one[-1].frames, two[-1].frames) == (75, 9)
