"""Jobs and streams over gRPC through the whole stack, with a client generated from the .proto."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from pathlib import Path
from typing import Any

import av
import grpc
import httpx
import psutil
import pytest
from circumplex.v1 import annotation_pb2 as live
from circumplex.v1 import annotation_pb2_grpc, jobs_pb2_grpc
from circumplex.v1 import jobs_pb2 as jobs
from prometheus_client.parser import text_string_to_metric_families

from service.embedded.stack import Stack
from tests.integration.job_environment import eventually

TIMEOUT_SECONDS = 120.0
RELEASE_TIMEOUT_SECONDS = 5.0
"""Takes some hundredths of a second; longer on a busy machine."""
TOLERANCE = 1e-5


@pytest.fixture
async def channel(stack: Stack) -> AsyncGenerator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{stack.settings.grpc_port}") as channel:
        yield channel


@pytest.fixture(scope="module")
def fragmented_mp4(talking_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The talking clip as a fragmented MP4, as a recorder would stream it."""
    path = tmp_path_factory.mktemp("fragmented") / "talking.mp4"
    options = {
        "movflags": "frag_keyframe+empty_moov+default_base_moof",
        "frag_duration": "200000",  # microseconds
    }
    with (
        av.open(str(talking_clip)) as source,
        av.open(str(path), "w", options=options) as target,
    ):
        streams = {
            stream: target.add_stream_from_template(stream)  # pyright: ignore[reportUnknownMemberType]  # PyAV's untyped **kwargs
            for stream in source.streams
        }
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream]
                target.mux(packet)  # pyright: ignore[reportUnknownMemberType]  # PyAV's Packet is generic without a default
    return path.read_bytes()


def split_randomly(content: bytes) -> Iterator[bytes]:
    sizes = random.Random(0)
    start = 0
    while start < len(content):
        size = sizes.choice((1, 500, 5_000, 50_000))
        yield content[start : start + size]
        start += size


async def run_job(channel: grpc.aio.Channel, clip: bytes) -> dict[str, Any]:
    """Annotate a clip as a job; returns its JSON result."""
    service: Any = jobs_pb2_grpc.JobServiceStub(channel)
    options = jobs.SubmitOptions(filename="talking.mp4", priority="interactive")
    requests = [jobs.SubmitJobRequest(options=options)]
    requests += [jobs.SubmitJobRequest(data=chunk) for chunk in split_randomly(clip)]
    submitted: jobs.SubmitJobResponse = await service.SubmitJob(iter(requests))
    job = submitted.job
    updates: AsyncIterable[jobs.WatchJobResponse]
    updates = service.WatchJob(jobs.WatchJobRequest(job_id=job.id))
    async for update in updates:
        job = update.job
    assert job.state == "succeeded", job
    chunks: AsyncIterable[jobs.GetResultResponse]
    chunks = service.GetResult(jobs.GetResultRequest(job_id=job.id))
    return json.loads(b"".join([chunk.data async for chunk in chunks]))


async def test_a_randomly_chunked_stream_equals_a_job(
    channel: grpc.aio.Channel, fragmented_mp4: bytes
) -> None:
    config = live.StreamConfig(container=live.ContainerMedia())
    requests = [live.StreamingAnnotateRequest(config=config)]
    requests += [
        live.StreamingAnnotateRequest(container=live.ContainerChunk(data=chunk))
        for chunk in split_randomly(fragmented_mp4)
    ]
    service: Any = annotation_pb2_grpc.AnnotationServiceStub(channel)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        stream: AsyncIterable[live.StreamingAnnotateResponse]
        stream = service.StreamingAnnotate(iter(requests))
        responses = [each async for each in stream]
        frames = (await run_job(channel, fragmented_mp4))["frames"]

    assert responses[0].config_ack.limits.message_bytes > 2**20
    results = [each.frame_result for each in responses if each.HasField("frame_result")]
    finals = [result for result in results if result.is_final]
    assert responses[-1].summary.frames == len(frames["index"]) == 75
    assert [final.index for final in finals] == frames["index"]
    assert [final.time_seconds for final in finals] == frames["time"]
    assert len(finals) < len(results), "nothing was provisional"
    for name in ("valence", "arousal", "valence_smoothed", "arousal_std"):
        streamed = [getattr(final.tracks[0].estimate, name) for final in finals]
        assert streamed == pytest.approx(frames[name], abs=TOLERANCE)


def list_child_pids(stack: Stack) -> set[int]:
    """List the running child processes of the gateway."""
    [gateway] = stack.parts["gateway"]
    return {child.pid for child in gateway.children(recursive=True) if is_alive(child)}


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def read_open_streams(address: str) -> float:
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"{address}/metrics")).text
    families = text_string_to_metric_families(text)
    (streams,) = (each for each in families if each.name == "circumplex_streams")
    return sum(sample.value for sample in streams.samples)


async def test_a_disconnected_client_frees_its_decode_process(
    stack: Stack, channel: grpc.aio.Channel, address: str, fragmented_mp4: bytes
) -> None:
    before = list_child_pids(stack)
    service: Any = annotation_pb2_grpc.AnnotationServiceStub(channel)
    call: Any = service.StreamingAnnotate()
    config = live.StreamConfig(container=live.ContainerMedia())
    await call.write(live.StreamingAnnotateRequest(config=config))
    assert (await call.read()).HasField("config_ack")
    half = live.ContainerChunk(data=fragmented_mp4[: len(fragmented_mp4) // 2])
    await call.write(live.StreamingAnnotateRequest(container=half))
    assert (await call.read()).HasField("frame_result")
    during = list_child_pids(stack) - before
    assert during
    assert await read_open_streams(address) == 1
    call.cancel()

    async def freed() -> bool | None:
        return not (list_child_pids(stack) & during or await read_open_streams(address)) or None

    await eventually(freed, RELEASE_TIMEOUT_SECONDS)
