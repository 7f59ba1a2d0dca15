"""Streams of real media that are cut off, over two gateways, are what they would have been."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from circumplex.v1 import annotation_pb2 as wire

from service.embedded.triton import TritonPorts
from service.settings import Settings
from tests.integration.live_stage import (
    LiveStage,
    container_requests,
    frame_requests,
    open_live_stage,
)
from tests.integration.servers import RedisServer
from tests.torture.reference import ffmpeg
from tests.unit.live.client import Client, Counts, told
from tests.unit.live.relay import Relay
from training.synthetic.clip import render_demo_clip

SECONDS = 4.0
FRAMES = 100
CUTS = 10
TOLERANCE = 1e-5
BYTES_OF_SOUND = 4
"""Of one sample: two channels of 16 bits."""


@pytest.fixture(scope="module")
async def relay(redis_server: RedisServer) -> AsyncIterator[Relay]:
    async with Relay(redis_server.url).running() as relay:
        yield relay


@pytest.fixture(scope="module")
async def gateways(
    triton_server: TritonPorts, triton_dir: Path, redis_server: RedisServer, relay: Relay
) -> AsyncIterator[list[LiveStage]]:
    """Two, of which the second can lose its Redis."""
    settings = Settings(
        redis_url=redis_server.url,
        triton_url=triton_server.grpc_url,
        face_models_dir=triton_dir.parent / "faces",
        window_frames=30,
        hop_frames=20,
        chunk_frames=8,
        max_streams=4,
    )
    other = settings.model_copy(update={"redis_url": relay.url})
    async with open_live_stage(settings) as one, open_live_stage(other) as two:
        yield [one, two]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resumed")
    render_demo_clip(folder / "talk.mp4", seconds=SECONDS, width=320, height=240)
    ffmpeg("-i talk.mp4 -c copy live.ts", folder=folder)
    ffmpeg("-i talk.mp4 -c:v mjpeg -q:v 3 -c:a pcm_s16le -ar 44100 -ac 2 m.mkv", folder=folder)
    return folder


def client_of(requests: Iterator[wire.StreamingAnnotateRequest]) -> Client:
    config = next(requests).config
    return Client(config=config, media=[(each, _counts_of(each)) for each in requests])


def _counts_of(request: wire.StreamingAnnotateRequest) -> Counts:
    sound = len(request.audio.data) // BYTES_OF_SOUND
    return len(request.container.data), int(request.HasField("frame")), sound


@pytest.mark.parametrize("kind", ["single frames", "container"])
async def test_ten_cuts_change_nothing(
    gateways: list[LiveStage], relay: Relay, folder: Path, kind: str
) -> None:
    def client() -> Client:
        if kind == "container":
            content = (folder / "live.ts").read_bytes()
            return client_of(container_requests(content, seed=2, largest=20_000))
        return client_of(frame_requests(folder / "m.mkv", seed=2))

    whole, cut = client(), client()
    await whole.visit(gateways[0].streams)
    assert len(whole.finals) == FRAMES
    draw = random.Random(2)
    for place in range(CUTS):
        gateway = gateways[place % 2]
        replies = gateway.streams.annotate(cut.requests(), cut.caller)
        wanted = len(cut.finals) + draw.randrange(9)
        async with aclosing(replies):
            async for reply in replies:
                cut.take(reply)
                if len(cut.finals) >= wanted:
                    break
            if place % 4 == 1:
                await relay.cut()  # it dies: whatever it writes now is lost
        await relay.mend()
    assert cut.summary is None
    await cut.visit(gateways[0].streams)
    assert len(cut.send_from) == CUTS + 1
    if kind == "single frames":
        assert cut.send_from[-1][1] > FRAMES // 3
        assert cut.send_from[-1][2] > 0
    _assert_same(cut, whole)


def _assert_same(cut: Client, whole: Client) -> None:
    for one, other in zip(told(cut.finals), told(whole.finals), strict=True):
        assert one == pytest.approx(other, rel=0, abs=TOLERANCE)
    assert cut.summary is not None
    assert whole.summary is not None
    for each in (cut.summary, whole.summary):
        each.ClearField("latency")
    assert cut.summary == whole.summary
