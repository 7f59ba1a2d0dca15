"""Extraction of streams in tests, and its comparison with the extraction of the same clip."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from service.decoding.extractor import ForkedStreamExtractor
from service.domain.array_types import Float32Array, UInt8Array
from service.domain.audio_grid import HOP_SAMPLES, PATCH_SAMPLES
from service.domain.clip import Chunk, ClipClosed, ExtractionEvent, Frame
from service.domain.ports import StreamExtraction as Stream
from service.domain.stream import (
    AudioExtracted,
    AudioFormat,
    FrameEncoding,
    FramesExtracted,
    FrameStreamMedia,
    SampleEncoding,
    StreamAudio,
    StreamBytes,
    StreamExtractionEvent,
    StreamFrame,
    StreamInput,
    StreamMedia,
)
from training.synthetic.camera import Camera
from training.synthetic.clip import create_demo_performance, render_audio, render_frames
from training.synthetic.renderer import PerformanceRenderer

PCM_FORMAT = AudioFormat(encoding=SampleEncoding.S16, rate_hz=44_100, channels=2)
JPEG_MEDIA = FrameStreamMedia(encoding=FrameEncoding.JPEG, audio=PCM_FORMAT)

RenderedPerformance = tuple[list[UInt8Array], Float32Array]
"""Pictures and audio of `render_performance`."""


def render_performance(seconds: float) -> RenderedPerformance:
    """Render a speaking face: 25 pictures a second of 160x120, and its audio at 16 kHz."""
    performance = create_demo_performance(seconds=seconds)
    renderer = PerformanceRenderer(
        performance, Camera.from_seed(performance.seed), height=120, width=160
    )
    times = np.arange(round(25 * seconds)) / 25
    return list(render_frames(performance, renderer, times)), render_audio(performance)


@dataclass(frozen=True, kw_only=True)
class ExtractionOutput:
    """Everything extracted from a clip or a stream."""

    frames: list[Frame]
    crops: UInt8Array
    patches: Float32Array
    closed: ClipClosed


def collect_output(messages: Iterable[ExtractionEvent | StreamExtractionEvent]) -> ExtractionOutput:
    frames: list[Frame] = []
    crops: list[UInt8Array] = []
    patches: list[Float32Array] = []
    closed = None
    for message in messages:
        match message:
            case Chunk():
                frames += message.frames
                crops.append(message.crops)
                patches += _patches(message)
            case FramesExtracted():
                frames += message.frames
                crops.append(message.crops)
            case AudioExtracted():
                patches += _patches(message)
            case ClipClosed():
                closed = message
            case _:
                continue
    assert closed is not None
    return ExtractionOutput(
        frames=frames, crops=np.concatenate(crops), patches=np.array(patches), closed=closed
    )


def _patches(message: Chunk | AudioExtracted) -> list[Float32Array]:
    starts = [HOP_SAMPLES * start for start in message.patch_starts]
    return [message.waveform[start : start + PATCH_SAMPLES] for start in starts]


def assert_same_output(expected: ExtractionOutput, actual: ExtractionOutput) -> None:
    """Compare frames, faces and crops bit by bit, audio up to the rounding of a filter."""
    assert expected.frames == actual.frames
    np.testing.assert_array_equal(expected.crops, actual.crops)
    np.testing.assert_allclose(actual.patches, expected.patches, rtol=0, atol=1e-6)
    assert expected.closed == actual.closed


@asynccontextmanager
async def sending(stream: Stream, pieces: Iterable[StreamInput]) -> AsyncGenerator[None]:
    """Send pieces and their end while the caller reads."""

    async def send() -> None:
        for piece in pieces:
            await stream.send(piece)
        await stream.end()

    task = asyncio.create_task(send())
    try:
        yield
        await task
    finally:
        task.cancel()


async def run_stream_extraction(
    extraction: ForkedStreamExtractor,
    media: StreamMedia,
    pieces: Iterable[StreamInput],
    snapshot: bytes | None = None,
) -> list[StreamExtractionEvent]:
    """Send a stream as fast as it is read; returns its events."""
    async with extraction(media, snapshot) as stream, sending(stream, pieces):
        return [message async for message in stream.events()]


def split_bytes(data: bytes, sizes: random.Random | int) -> Iterator[StreamBytes]:
    """Split a file into pieces of so many bytes, or of 1 byte to 64 KiB at random."""
    place = 0
    while place < len(data):
        size = sizes if isinstance(sizes, int) else round(2 ** sizes.uniform(0, 16))
        yield StreamBytes(data=data[place : place + size], arrived_at=time.monotonic())
        place += size


def read_packets(clip: Path) -> tuple[list[tuple[float, bytes]], bytes]:
    """Read time and JPEG of each frame, and the PCM samples, of a file with both."""
    with av.open(str(clip)) as container:
        video = container.streams.video[0]
        packets = [packet for packet in container.demux() if packet.size]
        jpegs = [
            (float((packet.pts or 0) * (packet.time_base or 0)), bytes(packet))
            for packet in packets
            if packet.stream == video
        ]
        pcm = b"".join(bytes(packet) for packet in packets if packet.stream != video)
    return jpegs, pcm


def interleave(
    jpegs: Sequence[tuple[float, bytes]], pcm: bytes, chunk_seconds: float = 0.04
) -> list[StreamInput]:
    """Interleave frames and pieces of audio by their times."""
    size = round(chunk_seconds * PCM_FORMAT.rate_hz) * PCM_FORMAT.frame_bytes
    timed: list[tuple[float, StreamInput]] = [
        (moment, StreamFrame(time_seconds=moment, data=data, arrived_at=time.monotonic()))
        for moment, data in jpegs
    ]
    for place in range(0, len(pcm), size):
        piece = StreamAudio(data=pcm[place : place + size], time_seconds=None if place else 0.0)
        timed.append((place / PCM_FORMAT.frame_bytes / PCM_FORMAT.rate_hz, piece))
    return [piece for _, piece in sorted(timed, key=lambda each: each[0])]
