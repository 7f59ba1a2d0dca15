"""How the children of streams wait, are confined and end, whoever ends them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from service.decoding.extractor import ForkedStreamExtractor
from service.domain.ports import StreamExtraction as Stream
from service.domain.stream import (
    ContainerStreamMedia,
    FrameEncoding,
    FramesExtracted,
    FrameStreamMedia,
    StreamBytes,
    StreamExtractionEvent,
    StreamFrame,
    StreamInput,
    StreamMedia,
)
from service.errors import CircumplexError, DecoderCrashed, DecoderKilled, DecoderTimedOut
from tests.media.clip_factory import VideoTrack, encode_clip
from tests.media.decode_workers import decode_worker_pids, read_process_status, settings

RAW = FrameStreamMedia(encoding=FrameEncoding.RGB24, width=64, height=64)
PICTURE = bytes(3 * 64 * 64)
STALL_TIMEOUT_SECONDS = 2.0
"""A patience in seconds that a busy machine does not exhaust."""
PROMPT_SECONDS = 5.0
"""What takes some hundredths of a second takes less than this on a busy machine."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Pictures in a container that begins with all that is to be known."""
    path = tmp_path_factory.mktemp("clips") / "clip.mkv"
    return encode_clip(path, VideoTrack(size=(32, 32), count=20)).read_bytes()


async def _send_picture(stream: Stream, number: int) -> None:
    await stream.send(StreamFrame(time_seconds=number / 25, data=PICTURE, arrived_at=1.0))


async def _send_pictures_forever(stream: Stream) -> None:
    number = 0
    while True:
        await _send_picture(stream, number)
        number += 1


async def test_unread_worker_applies_backpressure_and_closes_promptly(
    stream_extractor: ForkedStreamExtractor,
) -> None:
    began = 0.0
    async with stream_extractor(RAW) as stream:
        sending = asyncio.create_task(_send_pictures_forever(stream))
        # frames are answered with 98 hops of sound each: some dozens fill what lies between
        _, waiting = await asyncio.wait({sending}, timeout=1.0)
        assert waiting
        assert len(decode_worker_pids()) == 1
        began = time.monotonic()
    assert time.monotonic() - began < PROMPT_SECONDS
    assert not decode_worker_pids()
    sending.cancel()


async def test_worker_waiting_for_media_closes_promptly(
    stream_extractor: ForkedStreamExtractor, clip: bytes
) -> None:
    for piece in (b"", clip[:100], clip[: len(clip) // 2]):
        async with stream_extractor(ContainerStreamMedia()) as stream:
            await stream.send(StreamBytes(data=piece, arrived_at=1.0))
            await asyncio.sleep(0.1)
            assert len(decode_worker_pids()) == 1
            began = time.monotonic()
        assert time.monotonic() - began < PROMPT_SECONDS
        assert not decode_worker_pids()


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (signal.SIGKILL, DecoderKilled),
        (signal.SIGSEGV, DecoderCrashed),
        (signal.SIGXCPU, DecoderTimedOut),
    ],
)
async def test_fatal_signal_raises_in_the_reader_and_unblocks_the_sender(
    stream_extractor: ForkedStreamExtractor, number: signal.Signals, error: type[CircumplexError]
) -> None:
    async with stream_extractor(RAW) as stream:
        messages = stream.events()
        await _send_picture(stream, 0)
        assert isinstance(await anext(messages), FramesExtracted)
        os.kill(*decode_worker_pids(), number)
        with pytest.raises(error):
            await _drain(messages)
        async with asyncio.timeout(30):
            for each in range(1, 50):
                await _send_picture(stream, each)
            await stream.end()
    assert not decode_worker_pids()


async def test_idle_input_does_not_count_as_a_stall(
    stream_extractor: ForkedStreamExtractor, clip: bytes
) -> None:
    """Nor where all that was sent was looked at, be it only the beginning of a stream's head."""
    hasty = replace(stream_extractor, settings=settings(decode_stall_seconds=STALL_TIMEOUT_SECONDS))

    async def see(media: StreamMedia, pieces: Sequence[StreamInput]) -> int:
        async with hasty(media) as stream:
            reading = asyncio.create_task(_collect(stream))
            for piece in pieces:
                await asyncio.sleep(1.5 * STALL_TIMEOUT_SECONDS)
                assert not reading.done()
                await stream.send(piece)
            await stream.end()
            return sum(isinstance(message, FramesExtracted) for message in await reading)

    parts = [StreamBytes(data=data, arrived_at=1.0) for data in (clip[:20], clip[20:])]
    head = [StreamBytes(data=data, arrived_at=1.0) for data in (clip[:600], clip[600:])]
    frames = [StreamFrame(time_seconds=each, data=PICTURE, arrived_at=1.0) for each in (0.0, 1.0)]
    seen = await asyncio.gather(
        see(ContainerStreamMedia(), parts), see(ContainerStreamMedia(), head), see(RAW, frames)
    )
    assert seen == [20, 20, 2]


async def _drain(messages: AsyncIterator[StreamExtractionEvent]) -> None:
    async for _ in messages:
        continue


async def _collect(stream: Stream) -> list[object]:
    return [message async for message in stream.events()]


@pytest.mark.parametrize("kind", ["frames", "container", "end"])
async def test_worker_stalled_with_pending_media_times_out(
    stream_extractor: ForkedStreamExtractor, clip: bytes, kind: str
) -> None:
    hasty = replace(stream_extractor, settings=settings(decode_stall_seconds=0.5))
    async with hasty(ContainerStreamMedia() if kind == "container" else RAW) as stream:
        await asyncio.sleep(0.2)
        os.kill(*decode_worker_pids(), signal.SIGSTOP)
        if kind == "frames":
            await _send_picture(stream, 0)
        elif kind == "container":
            await stream.send(StreamBytes(data=clip, arrived_at=1.0))
        else:
            await stream.end()
        with pytest.raises(DecoderTimedOut):
            await _collect(stream)
    assert not decode_worker_pids()


async def test_cpu_time_limit_ends_a_stream(stream_extractor: ForkedStreamExtractor) -> None:
    brief = replace(stream_extractor, settings=settings(decode_cpu_seconds=1))
    async with brief(RAW) as stream:
        sending = asyncio.create_task(_send_pictures_forever(stream))
        with pytest.raises(DecoderTimedOut, match="processor time"):
            await _collect(stream)
        sending.cancel()


async def test_stream_worker_is_sandboxed(stream_extractor: ForkedStreamExtractor) -> None:
    async with stream_extractor(RAW) as stream:
        messages = stream.events()
        await _send_picture(stream, 0)
        await anext(messages)
        (child,) = decode_worker_pids()
        status = read_process_status(child)
        assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0


async def test_one_crashed_stream_leaves_the_others_running(
    stream_extractor: ForkedStreamExtractor,
) -> None:
    async with stream_extractor(RAW) as one:
        messages = one.events()
        await _send_picture(one, 0)
        await anext(messages)
        before = decode_worker_pids()
        async with stream_extractor(RAW) as other:
            told = other.events()
            await _send_picture(other, 0)
            await anext(told)
            (child,) = decode_worker_pids() - before
            os.kill(child, signal.SIGSEGV)
            with pytest.raises(DecoderCrashed):
                await anext(told)
        await _send_picture(one, 1)
        await one.end()
        rest = [message async for message in messages]
    assert sum(isinstance(message, FramesExtracted) for message in rest) == 1
