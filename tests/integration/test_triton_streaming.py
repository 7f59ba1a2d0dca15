"""Streams on Triton: single crops and windows of concurrent streams share batches."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
import pytest
from prometheus_client import CollectorRegistry
from tritonclient.grpc.aio import InferenceServerClient

from service.domain.array_types import Float32Array
from service.domain.model_signatures import (
    FUSION,
    LIVE_FUSION,
    LIVE_VISUAL_BACKBONE,
    LIVE_WINDOW_FRAMES,
    VISUAL_BACKBONE,
)
from service.domain.ports import Inference
from service.embedded.triton import TritonPorts
from service.settings import YARDSTICK, Settings
from service.streaming.batching import BatchedInference
from service.telemetry.metrics import Metrics
from tests.integration.job_environment import eventually
from tests.integration.triton_models import MINI, open_inference

STREAM_COUNT = 8
FRAME_COUNT = 10
STATISTICS_POLL_SECONDS = 0.1
PROCESS_NAME_CHARS = 15
"""Model processes are named after their slots, as far as Linux keeps a name."""
TOLERANCE = 1e-5
"""The same float32 sums in another order: a batch is another matrix."""


@pytest.fixture
def settings(triton_server: TritonPorts, mini_repository: Path) -> Settings:
    return Settings(
        models=YARDSTICK, model_repository=mini_repository, triton_url=triton_server.grpc_url
    )


class SimulatedStream:
    """Crops of one stream, and the initial content of its window."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.crops = random.integers(0, 256, (FRAME_COUNT, 3, 112, 112), dtype=np.uint8)
        self.faces = random.normal(size=(LIVE_WINDOW_FRAMES, 512)).astype(np.float32)
        self.voice = random.normal(size=(LIVE_WINDOW_FRAMES, 128)).astype(np.float32)
        self.mask = np.arange(LIVE_WINDOW_FRAMES) >= LIVE_WINDOW_FRAMES // 2

    async def estimate(self, inference: Inference) -> list[Float32Array]:
        """Provisional estimates of each frame: mean and spread, (4,) each."""
        estimates: list[Float32Array] = []
        faces = self.faces
        for crop in self.crops:
            faces = np.concatenate([faces[1:], await inference.embed_faces(crop[None])])
            mean, spread = await inference.fuse_live(faces[None], self.voice[None], self.mask[None])
            estimates.append(np.concatenate([mean[0, -1], spread[0, -1]]))
        return estimates


async def read_execution_counts(url: str, model: str) -> tuple[int, int]:
    """Executions of a model by Triton, and the requests that they served."""
    async with InferenceServerClient(url) as client:
        [statistics] = (await client.get_inference_statistics(model)).model_stats
    return statistics.execution_count, statistics.inference_stats.success.count


async def wait_for_execution_counts(
    url: str, model: str, expected_requests: int | None = None
) -> tuple[int, int]:
    """Execution counts once they are stable, and equal to the expected requests if given."""
    last: tuple[int, int] | None = None

    async def poll() -> tuple[int, int] | None:
        nonlocal last
        before, last = last, await read_execution_counts(url, model)
        await asyncio.sleep(STATISTICS_POLL_SECONDS)
        return last if last == before and expected_requests in (None, last[1]) else None

    return await eventually(poll)


async def test_streams_share_batches_with_equal_results(settings: Settings) -> None:
    streams = [SimulatedStream(seed) for seed in range(STREAM_COUNT)]
    async with open_inference(settings, Metrics(CollectorRegistry())) as inference:
        alone = [await stream.estimate(inference) for stream in streams]
        models = tuple(MINI.part_name(each.name) for each in (LIVE_VISUAL_BACKBONE, LIVE_FUSION))
        before = [await wait_for_execution_counts(settings.triton_url, model) for model in models]
        together = await asyncio.gather(*(stream.estimate(inference) for stream in streams))
        after = [
            await wait_for_execution_counts(
                settings.triton_url, model, requests + STREAM_COUNT * FRAME_COUNT
            )
            for model, (_, requests) in zip(models, before, strict=True)
        ]
    for (runs, requests), (runs_before, requests_before) in zip(after, before, strict=True):
        assert requests - requests_before == STREAM_COUNT * FRAME_COUNT
        assert runs - runs_before < STREAM_COUNT * FRAME_COUNT
    np.testing.assert_allclose(together, alone, rtol=0, atol=TOLERANCE)


async def test_concurrent_streams_share_one_call_with_equal_results(
    settings: Settings,
) -> None:
    streams = [SimulatedStream(seed) for seed in range(STREAM_COUNT)]
    async with open_inference(settings, Metrics(CollectorRegistry())) as inference:
        shared = BatchedInference(inference)
        alone = [await stream.estimate(inference) for stream in streams]
        model = MINI.part_name(LIVE_VISUAL_BACKBONE.name)
        before = await read_execution_counts(settings.triton_url, model)
        with ExitStack() as active_streams:
            for _ in streams:
                active_streams.enter_context(shared.active_stream())
            together = await asyncio.gather(*(stream.estimate(shared) for stream in streams))
        after = await read_execution_counts(settings.triton_url, model)
    assert after[1] - before[1] < STREAM_COUNT * FRAME_COUNT
    np.testing.assert_allclose(together, alone, rtol=0, atol=TOLERANCE)


async def test_a_streaming_window_gives_the_estimates_of_a_clip(settings: Settings) -> None:
    stream = SimulatedStream(0)
    async with open_inference(settings, Metrics(CollectorRegistry())) as inference:
        live = await inference.fuse_live(stream.faces[None], stream.voice[None], stream.mask[None])
        batch = await inference.fuse(stream.faces, stream.voice, stream.mask)
    for expected, actual in zip(batch, live, strict=True):
        np.testing.assert_allclose(actual[0], expected, rtol=0, atol=TOLERANCE)


@pytest.mark.usefixtures("triton_server")
def test_clip_models_give_way_to_streaming_models_in_sessions_of_their_own() -> None:
    slots = [each.name for each in (VISUAL_BACKBONE, FUSION, LIVE_VISUAL_BACKBONE, LIVE_FUSION)]
    found: dict[str, set[tuple[int, bool]]] = {name: set() for name in slots}
    for process in psutil.Process().children(recursive=True):
        for name in slots:
            if process.name() == name[:PROCESS_NAME_CHARS]:
                is_leader = os.getsid(process.pid) == process.pid
                found[name].add((process.nice() - psutil.Process().nice(), is_leader))
    assert found[VISUAL_BACKBONE.name] == found[FUSION.name] == {(10, True)}
    assert found[LIVE_VISUAL_BACKBONE.name] == found[LIVE_FUSION.name] == {(0, False)}
