"""Python client over connections that break, at the real gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import av
import cv2
import pytest
from circumplex_client import ClientError
from circumplex_client.live import (
    AudioChunk,
    ContainerChunk,
    FrameInput,
    FrameResult,
    ImageFrame,
    LiveClient,
    LiveResult,
    LiveStreamOptions,
    MediaChunk,
    RawAudioFormat,
    StreamSummary,
    pyav_io,
)

from service.embedded.stack import Stack
from tests.integration.flaky_proxy import FlakyProxy, running_proxy

FRAME_OPTIONS = LiveStreamOptions(
    media=FrameInput(audio=RawAudioFormat(rate_hz=16_000)), finals_only=True
)
CONTAINER_OPTIONS = LiveStreamOptions(finals_only=True)


@pytest.fixture(scope="module")
def pieces(talking_clip: Path) -> dict[str, list[MediaChunk]]:
    """The talking clip as single frames with audio, and as a container."""
    with av.open(talking_clip) as clip:
        pictures = [frame.to_ndarray(format="bgr24") for frame in clip.decode(video=0)]
    single: list[MediaChunk] = []
    for index, picture in enumerate(pictures):
        single.append(ImageFrame(index / 25, cv2.imencode(".jpg", picture)[1].tobytes()))
        single.append(AudioChunk(bytes([index, 1]) * 640))
    content = b"".join(data for _, data in pyav_io.remux_fragmented(talking_clip))
    whole = [
        ContainerChunk(content[start : start + 2000]) for start in range(0, len(content), 2000)
    ]
    return {"frames": single, "container": list(whole)}


@pytest.mark.parametrize("kind", ["frames", "container"])
async def test_broken_connections_do_not_change_the_results(
    stack: Stack, pieces: dict[str, list[MediaChunk]], kind: str
) -> None:
    options = FRAME_OPTIONS if kind == "frames" else CONTAINER_OPTIONS
    size = sum(len(piece.data) for piece in pieces[kind])
    unbroken, no_breaks = await annotate(stack.settings.grpc_port, pieces[kind], options)
    proxy = FlakyProxy(stack.settings.grpc_port, iter([size // 2, size // 3]))
    async with running_proxy(proxy) as port:
        broken, breaks = await annotate(port, pieces[kind], options)

    assert (len(no_breaks), len(breaks)) == (0, 2)
    assert [each.index for each in broken if isinstance(each, FrameResult)] == list(range(75))
    assert broken[:-1] == unbroken[:-1]
    assert isinstance(broken[-1], StreamSummary)
    assert broken[-1].frames == 75


async def annotate(
    port: int, pieces: list[MediaChunk], options: LiveStreamOptions
) -> tuple[list[LiveResult], list[ClientError]]:
    """Annotate a stream; returns the results, and the errors of broken calls."""

    async def media() -> AsyncGenerator[MediaChunk]:
        for piece in pieces:
            yield piece
            await asyncio.sleep(0.005)

    breaks: list[ClientError] = []
    async with LiveClient(f"127.0.0.1:{port}", memory_bytes=100_000) as live:
        results = live.annotate(
            media(), options, on_interrupted=lambda error, _: breaks.append(error)
        )
        return [result async for result in results], breaks
