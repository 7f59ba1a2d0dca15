"""Decode processes of streams: waiting, back-pressure, time-outs, confinement and ends."""

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
from service.errors import (
    CircumplexError,
    DecoderCrashed,
    DecoderKilled,
    DecoderStalled,
    DecoderTimedOut,
)
from tests.media.clip_factory import VideoTrack, encode_clip
from tests.media.decode_workers import (
    decode_worker_pids,
    read_process_status,
    settings,
    wait_for_single_worker,
)

RAW = FrameStreamMedia(encoding=FrameEncoding.RGB24, width=64, height=64)
PICTURE = bytes(3 * 64 * 64)
STALL_TIMEOUT_SECONDS = 2.0
"""A time-out that a busy machine does not reach."""
PROMPT_SECONDS = 5.0
"""Limit, on a busy machine, of what takes some hundredths of a second."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Encode pictures in a container whose header is complete."""
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
        # each frame is answered with 98 hops of audio: some dozens fill the pipes and buffers
        _, waiting = await asyncio.wait({sending}, timeout=1.0)
        assert waiting
        await wait_for_single_worker()
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
            await wait_for_single_worker()
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
        os.kill(await wait_for_single_worker(), number)
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
    """Input that was read counts as answered, even where it ends within the header."""
    short_stall_extractor = replace(
        stream_extractor, settings=settings(decode_stall_seconds=STALL_TIMEOUT_SECONDS)
    )

    async def count_frames(media: StreamMedia, pieces: Sequence[StreamInput]) -> int:
        async with short_stall_extractor(media) as stream:
            reading = asyncio.create_task(_collect(stream))
            for piece in pieces:
                await asyncio.sleep(1.5 * STALL_TIMEOUT_SECONDS)
                assert not reading.done()
                await stream.send(piece)
            await stream.end()
            return sum(isinstance(message, FramesExtracted) for message in await reading)

    pieces_in_magic = [StreamBytes(data=data, arrived_at=1.0) for data in (clip[:20], clip[20:])]
    pieces_in_header = [StreamBytes(data=data, arrived_at=1.0) for data in (clip[:600], clip[600:])]
    frames = [StreamFrame(time_seconds=each, data=PICTURE, arrived_at=1.0) for each in (0.0, 1.0)]
    counts = await asyncio.gather(
        count_frames(ContainerStreamMedia(), pieces_in_magic),
        count_frames(ContainerStreamMedia(), pieces_in_header),
        count_frames(RAW, frames),
    )
    assert counts == [20, 20, 2]


async def _drain(messages: AsyncIterator[StreamExtractionEvent]) -> None:
    async for _ in messages:
        continue


async def _collect(stream: Stream) -> list[object]:
    return [message async for message in stream.events()]


@pytest.mark.parametrize("kind", ["frames", "container", "end"])
async def test_worker_stalled_with_pending_media_times_out(
    stream_extractor: ForkedStreamExtractor, clip: bytes, kind: str
) -> None:
    short_stall_extractor = replace(stream_extractor, settings=settings(decode_stall_seconds=0.5))
    async with short_stall_extractor(
        ContainerStreamMedia() if kind == "container" else RAW
    ) as stream:
        os.kill(await wait_for_single_worker(), signal.SIGSTOP)
        if kind == "frames":
            await _send_picture(stream, 0)
        elif kind == "container":
            await stream.send(StreamBytes(data=clip, arrived_at=1.0))
        else:
            await stream.end()
        with pytest.raises(DecoderStalled):
            await _collect(stream)
    assert not decode_worker_pids()


async def test_cpu_time_limit_ends_a_stream(stream_extractor: ForkedStreamExtractor) -> None:
    limited = replace(stream_extractor, settings=settings(decode_cpu_seconds=1))
    async with limited(RAW) as stream:
        sending = asyncio.create_task(_send_pictures_forever(stream))
        with pytest.raises(DecoderTimedOut, match="processor time"):
            await _collect(stream)
        sending.cancel()


async def test_stream_worker_is_sandboxed(stream_extractor: ForkedStreamExtractor) -> None:
    async with stream_extractor(RAW) as stream:
        messages = stream.events()
        await _send_picture(stream, 0)
        await anext(messages)
        status = read_process_status(await wait_for_single_worker())
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
            other_messages = other.events()
            await _send_picture(other, 0)
            await anext(other_messages)
            (worker,) = decode_worker_pids() - before
            os.kill(worker, signal.SIGSEGV)
            with pytest.raises(DecoderCrashed):
                await anext(other_messages)
        await _send_picture(one, 1)
        await one.end()
        rest = [message async for message in messages]
    assert sum(isinstance(message, FramesExtracted) for message in rest) == 1
