"""Budget of processor time and frames by the size of media; a busy machine fails no clip."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.decoding.cpu_budget import FREE_FRAMES, CpuBudget, WorkAccount
from service.decoding.extractor import ForkedStreamExtractor
from service.domain.ports import StreamExtraction
from service.domain.stream import FrameEncoding, FrameStreamMedia, StreamFrame
from service.errors import ClipTooCostly
from tests.media import hostile_files
from tests.media.clip_factory import VideoTrack, encode_clip
from tests.media.decode_workers import (
    SETTINGS,
    Reader,
    assert_fails_alone,
    decode_worker_pids,
    read_frame_count_and_flags,
    settings,
    wait_for_single_worker,
)

GREY = np.full((16, 16, 3), 128, np.uint8)
SPARSE = {
    "decode_cpu_base_seconds": 0.2,
    "decode_cpu_seconds_per_megabyte": 0.0,
    "decode_cpu_seconds_per_frame": 0.0,
    "decode_cpu_seconds_per_megapixel": 0.0,
}
"""A budget that any clip of some frames exceeds."""


def test_a_budget_grows_with_bytes_frames_and_pixels() -> None:
    budget = CpuBudget(
        base_seconds=10,
        seconds_per_megabyte=30,
        seconds_per_frame=0.5,
        seconds_per_megapixel=0.25,
        min_bytes_per_frame=16,
    )
    assert budget.allowed_seconds(2_000_000, 100, 4_000_000) == 10 + 60 + 50 + 100
    assert budget.max_frames(4_000_000) == FREE_FRAMES + 250_000


def test_an_account_refuses_what_exceeds_its_budget() -> None:
    account = WorkAccount(CpuBudget.from_settings(SETTINGS), media_bytes=1600, unsent_frames=10)
    account.add_frames(FREE_FRAMES + 100)
    account.check(None)
    account.check(10 + 1110 * 0.04)
    with pytest.raises(ClipTooCostly, match="54 s of processor time for 1600 bytes"):
        account.check(10.1 + 1110 * 0.04 + 0.0016 * 30)
    with pytest.raises(ClipTooCostly, match="more than 1100 frames in 1600 bytes"):
        account.add_frames(1)


async def test_a_clip_that_takes_more_processor_time_than_its_size_allows_fails(
    reader: Reader, good_clip: Path, tmp_path: Path
) -> None:
    track = VideoTrack(size=(640, 480), count=1500, picture=np.full((480, 640, 3), 128, np.uint8))
    clip = encode_clip(tmp_path / "long.mp4", track)
    with pytest.raises(ClipTooCostly, match="processor time") as raised:
        await reader.read(clip, **SPARSE)
    assert not raised.value.retryable
    assert raised.value.condemns_clip
    assert not decode_worker_pids()
    assert (await read_frame_count_and_flags(reader, good_clip))[0] == 5


async def test_a_clip_that_is_slow_to_open_fails_within_its_budget(
    reader: Reader, good_clip: Path, tmp_path: Path
) -> None:
    """No message has been sent when the budget is exceeded."""
    clip = hostile_files.add_tags(encode_clip(tmp_path / "clip.mp4", VideoTrack()), 100_000)
    await assert_fails_alone(reader, clip, ClipTooCostly, good_clip, **SPARSE)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts"])
async def test_more_frames_than_the_bytes_account_for_are_refused(
    reader: Reader, good_clip: Path, tmp_path: Path, suffix: str
) -> None:
    """Of an MP4 before the first is decoded; else once there are too many."""
    frames = FREE_FRAMES + 200
    track = VideoTrack(size=(16, 16), count=frames, picture=GREY)
    clip = encode_clip(tmp_path / f"clip.{suffix}", track)
    size_bytes = clip.stat().st_size
    bound = {"min_bytes_per_frame": size_bytes / 100}
    await assert_fails_alone(reader, clip, ClipTooCostly, good_clip, **bound)
    assert (await read_frame_count_and_flags(reader, clip))[0] == frames


async def test_a_clip_that_is_slow_because_the_machine_is_busy_does_not_fail(
    reader: Reader, tmp_path: Path
) -> None:
    """Its decode process gets a processor only now and then, and sends nothing for many stalls."""
    clip = encode_clip(tmp_path / "clip.mp4", VideoTrack(size=(128, 128), count=620))
    async with reader.open(clip, decode_stall_seconds=2.0, chunk_frames=600) as messages:
        slowing = asyncio.create_task(_slow_down())
        try:
            received = [message async for message in messages]
        finally:
            slowing.cancel()
    assert received


async def _slow_down() -> None:
    """Let the decode process run for half of the time."""
    pid = await wait_for_single_worker()
    with suppress(ProcessLookupError):
        while True:
            for number in (signal.SIGSTOP, signal.SIGCONT):
                os.kill(pid, number)
                await asyncio.sleep(0.1)


async def _drain(stream: StreamExtraction) -> None:
    async for _ in stream.events():
        continue


async def test_a_stream_is_held_to_the_budget_of_its_media(
    stream_extractor: ForkedStreamExtractor,
) -> None:
    media = FrameStreamMedia(encoding=FrameEncoding.RGB24, width=640, height=480)
    limited = replace(stream_extractor, settings=settings(**SPARSE))
    picture = np.full((480, 640, 3), 128, np.uint8).tobytes()

    async def frames() -> AsyncIterator[StreamFrame]:
        for index in range(100_000):
            yield StreamFrame(time_seconds=index / 30, data=picture, arrived_at=1.0)

    async with limited(media) as stream:

        async def send() -> None:
            async for frame in frames():
                await stream.send(frame)

        sending = asyncio.create_task(send())
        with pytest.raises(ClipTooCostly, match="processor time"):
            await _drain(stream)
        sending.cancel()
    assert not decode_worker_pids()
