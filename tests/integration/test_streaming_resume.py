"""Streams of real media, disconnected and resumed at two gateways: the same results."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from circumplex.v1 import annotation_pb2 as wire

from service.embedded.triton import TritonPorts
from service.settings import YARDSTICK, Settings
from tests.integration.servers import RedisServer
from tests.integration.streaming_environment import (
    StreamingEnvironment,
    make_container_requests,
    make_frame_requests,
    open_streaming_environment,
)
from tests.media_corpus.ffmpeg_reference import run_ffmpeg
from tests.unit.streaming.redis_proxy import RedisProxy
from tests.unit.streaming.resuming_client import MediaCounts, ResumingClient, comparable_results
from tests.unit.streaming.stream_harness import annotate_messages
from training.synthetic.clip import render_demo_clip

CLIP_SECONDS = 4.0
FRAME_COUNT = 100
CUT_COUNT = 10
TOLERANCE = 1e-5
AUDIO_SAMPLE_BYTES = 4
"""Bytes of one sample of two channels of 16 bits."""


@pytest.fixture(scope="module")
async def proxy(redis_server: RedisServer) -> AsyncIterator[RedisProxy]:
    async with RedisProxy(redis_server.url).running() as proxy:
        yield proxy


@pytest.fixture(scope="module")
async def gateways(
    triton_server: TritonPorts,
    triton_dir: Path,
    mini_repository: Path,
    redis_server: RedisServer,
    proxy: RedisProxy,
) -> AsyncIterator[list[StreamingEnvironment]]:
    """Two gateways; the second can be disconnected from Redis."""
    settings = Settings(
        models=YARDSTICK,
        model_repository=mini_repository,
        redis_url=redis_server.url,
        triton_url=triton_server.grpc_url,
        face_models_dir=triton_dir.parent / "faces",
        window_frames=30,
        hop_frames=20,
        chunk_frames=8,
        max_streams=4,
    )
    other = settings.model_copy(update={"redis_url": proxy.url})
    async with (
        open_streaming_environment(settings) as one,
        open_streaming_environment(other) as two,
    ):
        yield [one, two]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resumed")
    render_demo_clip(folder / "talk.mp4", seconds=CLIP_SECONDS, width=320, height=240)
    run_ffmpeg("-i talk.mp4 -c copy live.ts", folder=folder)
    run_ffmpeg("-i talk.mp4 -c:v mjpeg -q:v 3 -c:a pcm_s16le -ar 44100 -ac 2 m.mkv", folder=folder)
    return folder


def make_client(requests: Iterator[wire.StreamingAnnotateRequest]) -> ResumingClient:
    config = next(requests).config
    return ResumingClient(config=config, media=[(each, _count_media(each)) for each in requests])


def _count_media(request: wire.StreamingAnnotateRequest) -> MediaCounts:
    samples = len(request.audio.data) // AUDIO_SAMPLE_BYTES
    return len(request.container.data), int(request.HasField("frame")), samples


@pytest.mark.parametrize("kind", ["single frames", "container"])
async def test_ten_disconnections_do_not_change_the_results(
    gateways: list[StreamingEnvironment], proxy: RedisProxy, folder: Path, kind: str
) -> None:
    def client() -> ResumingClient:
        if kind == "container":
            content = (folder / "live.ts").read_bytes()
            return make_client(make_container_requests(content, seed=2, max_chunk_bytes=20_000))
        return make_client(make_frame_requests(folder / "m.mkv", seed=2))

    whole, cut = client(), client()
    await whole.connect(gateways[0].streams)
    assert len(whole.finals) == FRAME_COUNT
    draw = random.Random(2)
    for place in range(CUT_COUNT):
        gateway = gateways[place % 2]
        replies = annotate_messages(gateway.streams, cut.requests(), cut.caller)
        max_finals = len(cut.finals) + draw.randrange(9)
        async with aclosing(replies):
            async for reply in replies:
                cut.handle(reply)
                if len(cut.finals) >= max_finals:
                    break
            if place % 4 == 1:
                await proxy.disconnect()  # what the gateway writes now is lost
        await proxy.restore()
    assert cut.summary is None
    await cut.connect(gateways[0].streams)
    assert len(cut.send_from) == CUT_COUNT + 1
    if kind == "single frames":
        assert cut.send_from[-1][1] > FRAME_COUNT // 3
        assert cut.send_from[-1][2] > 0
    _assert_same(cut, whole)


def _assert_same(cut: ResumingClient, whole: ResumingClient) -> None:
    for one, other in zip(
        comparable_results(cut.finals), comparable_results(whole.finals), strict=True
    ):
        assert one == pytest.approx(other, rel=0, abs=TOLERANCE)
    assert cut.summary is not None
    assert whole.summary is not None
    for each in (cut.summary, whole.summary):
        each.ClearField("latency")
    assert cut.summary == whole.summary
