"""How the children of streams wait, are confined and end, whoever ends them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from service.domain.live import (
    ContainerBytes,
    ContainerMedia,
    FrameEncoding,
    FrameMedia,
    LiveExtract,
    LiveFrame,
    LiveMedia,
    LivePiece,
    Seen,
)
from service.domain.ports import LiveExtraction as Stream
from service.errors import CircumplexError, DecoderCrashed, DecoderKilled, DecoderTimedOut
from service.extraction.live_door import LiveExtraction
from tests.media.children import children, settings, status_of
from tests.media.factory import PictureTrack, write

RAW = FrameMedia(encoding=FrameEncoding.RGB24, width=64, height=64)
PICTURE = bytes(3 * 64 * 64)
SHORT = 2.0
"""A patience in seconds that a busy machine does not exhaust."""
AT_ONCE = 5.0
"""What takes some hundredths of a second takes less than this on a busy machine."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Pictures in a container that begins with all that is to be known."""
    path = tmp_path_factory.mktemp("clips") / "clip.mkv"
    return write(path, PictureTrack(size=(32, 32), count=20)).read_bytes()


async def _send_picture(stream: Stream, number: int) -> None:
    await stream.send(LiveFrame(time_seconds=number / 25, data=PICTURE, arrived_at=1.0))


async def _send_for_ever(stream: Stream) -> None:
    number = 0
    while True:
        await _send_picture(stream, number)
        number += 1


async def test_a_child_that_is_not_read_takes_no_more_and_is_left_at_once(
    live: LiveExtraction,
) -> None:
    began = 0.0
    async with live(RAW) as stream:
        sending = asyncio.create_task(_send_for_ever(stream))
        # frames are answered with 98 hops of sound each: some dozens fill what lies between
        _, waiting = await asyncio.wait({sending}, timeout=1.0)
        assert waiting
        assert len(children()) == 1
        began = time.monotonic()
    assert time.monotonic() - began < AT_ONCE
    assert not children()
    sending.cancel()


async def test_a_child_that_waits_for_media_is_left_at_once(
    live: LiveExtraction, clip: bytes
) -> None:
    for piece in (b"", clip[:100], clip[: len(clip) // 2]):
        async with live(ContainerMedia()) as stream:
            await stream.send(ContainerBytes(data=piece, arrived_at=1.0))
            await asyncio.sleep(0.1)
            assert len(children()) == 1
            began = time.monotonic()
        assert time.monotonic() - began < AT_ONCE
        assert not children()


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (signal.SIGKILL, DecoderKilled),
        (signal.SIGSEGV, DecoderCrashed),
        (signal.SIGXCPU, DecoderTimedOut),
    ],
)
async def test_a_signal_that_ends_the_child_is_told_to_who_reads_and_lets_the_sender_go(
    live: LiveExtraction, number: signal.Signals, error: type[CircumplexError]
) -> None:
    async with live(RAW) as stream:
        messages = stream.extracts()
        await _send_picture(stream, 0)
        assert isinstance(await anext(messages), Seen)
        os.kill(*children(), number)
        with pytest.raises(error):
            await _drain(messages)
        async with asyncio.timeout(30):
            for each in range(1, 50):
                await _send_picture(stream, each)
            await stream.end()
    assert not children()


async def test_silence_is_no_fault_where_nothing_was_sent(
    live: LiveExtraction, clip: bytes
) -> None:
    """Nor where all that was sent was looked at, be it only the beginning of a stream's head."""
    hasty = replace(live, settings=settings(decode_stall_seconds=SHORT))

    async def see(media: LiveMedia, pieces: Sequence[LivePiece]) -> int:
        async with hasty(media) as stream:
            reading = asyncio.create_task(_collect(stream))
            for piece in pieces:
                await asyncio.sleep(1.5 * SHORT)
                assert not reading.done()
                await stream.send(piece)
            await stream.end()
            return sum(isinstance(message, Seen) for message in await reading)

    parts = [ContainerBytes(data=data, arrived_at=1.0) for data in (clip[:20], clip[20:])]
    head = [ContainerBytes(data=data, arrived_at=1.0) for data in (clip[:600], clip[600:])]
    frames = [LiveFrame(time_seconds=each, data=PICTURE, arrived_at=1.0) for each in (0.0, 1.0)]
    seen = await asyncio.gather(
        see(ContainerMedia(), parts), see(ContainerMedia(), head), see(RAW, frames)
    )
    assert seen == [20, 20, 2]


async def _drain(messages: AsyncIterator[LiveExtract]) -> None:
    async for _ in messages:
        continue


async def _collect(stream: Stream) -> list[object]:
    return [message async for message in stream.extracts()]


@pytest.mark.parametrize("kind", ["frames", "container", "end"])
async def test_a_child_that_stands_still_while_media_wait_is_ended(
    live: LiveExtraction, clip: bytes, kind: str
) -> None:
    hasty = replace(live, settings=settings(decode_stall_seconds=0.5))
    async with hasty(ContainerMedia() if kind == "container" else RAW) as stream:
        await asyncio.sleep(0.2)
        os.kill(*children(), signal.SIGSTOP)
        if kind == "frames":
            await _send_picture(stream, 0)
        elif kind == "container":
            await stream.send(ContainerBytes(data=clip, arrived_at=1.0))
        else:
            await stream.end()
        with pytest.raises(DecoderTimedOut):
            await _collect(stream)
    assert not children()


async def test_a_stream_that_takes_too_much_processor_time_is_ended(live: LiveExtraction) -> None:
    brief = replace(live, settings=settings(decode_cpu_seconds=1))
    async with brief(RAW) as stream:
        sending = asyncio.create_task(_send_for_ever(stream))
        with pytest.raises(DecoderTimedOut, match="processor time"):
            await _collect(stream)
        sending.cancel()


async def test_a_child_is_confined(live: LiveExtraction) -> None:
    async with live(RAW) as stream:
        messages = stream.extracts()
        await _send_picture(stream, 0)
        await anext(messages)
        (child,) = children()
        status = status_of(child)
        assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0


async def test_streams_go_side_by_side_and_one_that_dies_dies_alone(
    live: LiveExtraction,
) -> None:
    async with live(RAW) as one:
        messages = one.extracts()
        await _send_picture(one, 0)
        await anext(messages)
        before = children()
        async with live(RAW) as other:
            told = other.extracts()
            await _send_picture(other, 0)
            await anext(told)
            (child,) = children() - before
            os.kill(child, signal.SIGSEGV)
            with pytest.raises(DecoderCrashed):
                await anext(told)
        await _send_picture(one, 1)
        await one.end()
        rest = [message async for message in messages]
    assert sum(isinstance(message, Seen) for message in rest) == 1
