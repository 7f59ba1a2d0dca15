"""What streams ask of Triton: one crop and one window at a time, many of them together."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
import pytest
from prometheus_client import CollectorRegistry
from tritonclient.grpc.aio import InferenceServerClient

from service.domain.ports import Inference
from service.domain.signatures import (
    FUSION,
    LIVE_FRAMES,
    LIVE_FUSION,
    LIVE_VISUAL_BACKBONE,
    VISUAL_BACKBONE,
)
from service.embedded.triton import TritonPorts
from service.live.together import Together
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.triton.client import connect
from tests.integration.rooms import eventually

STREAMS = 8
FRAMES = 10
SETTLE_SECONDS = 0.1
ROUNDING = 1e-5
"""The same float32 sums in another order: a batch is another matrix."""


@pytest.fixture
def settings(triton_server: TritonPorts) -> Settings:
    return Settings(triton_url=triton_server.grpc_url)


class Stream:
    """The crops of one stream, and what stands in its window before any of them."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.crops = random.integers(0, 256, (FRAMES, 3, 112, 112), dtype=np.uint8)
        self.faces = random.normal(size=(LIVE_FRAMES, 512)).astype(np.float32)
        self.voice = random.normal(size=(LIVE_FRAMES, 128)).astype(np.float32)
        self.mask = np.arange(LIVE_FRAMES) >= LIVE_FRAMES // 2

    async def estimate(self, inference: Inference) -> list[np.ndarray]:
        """What is known of each frame when it is there, (FRAMES, 4)."""
        estimates = []
        faces = self.faces
        for crop in self.crops:
            faces = np.concatenate([faces[1:], await inference.embed_faces(crop[None])])
            mean, spread = await inference.fuse_live(faces[None], self.voice[None], self.mask[None])
            estimates.append(np.concatenate([mean[0, -1], spread[0, -1]]))
        return estimates


async def executions(url: str, model: str) -> tuple[int, int]:
    """How often Triton has run a model, and for how many requests."""
    async with InferenceServerClient(url) as client:
        [statistics] = (await client.get_inference_statistics(model)).model_stats
    return statistics.execution_count, statistics.inference_stats.success.count


async def settled(url: str, model: str, asked: int | None = None) -> tuple[int, int]:
    """The same once Triton has counted `asked` requests, or all: a moment after its answers."""
    last: tuple[int, int] | None = None

    async def look() -> tuple[int, int] | None:
        nonlocal last
        before, last = last, await executions(url, model)
        await asyncio.sleep(SETTLE_SECONDS)
        return last if last == before and asked in (None, last[1]) else None

    return await eventually(look)


async def test_streams_share_batches_and_get_what_they_get_alone(settings: Settings) -> None:
    streams = [Stream(seed) for seed in range(STREAMS)]
    async with connect(settings, Metrics(CollectorRegistry())) as inference:
        alone = [await stream.estimate(inference) for stream in streams]
        models = (LIVE_VISUAL_BACKBONE.name, LIVE_FUSION.name)
        before = [await settled(settings.triton_url, model) for model in models]
        together = await asyncio.gather(*(stream.estimate(inference) for stream in streams))
        after = [
            await settled(settings.triton_url, model, asked + STREAMS * FRAMES)
            for model, (_, asked) in zip(models, before, strict=True)
        ]
    for (ran, asked), (ran_before, asked_before) in zip(after, before, strict=True):
        assert asked - asked_before == STREAMS * FRAMES
        assert ran - ran_before < STREAMS * FRAMES
    np.testing.assert_allclose(together, alone, rtol=0, atol=ROUNDING)


async def test_what_streams_ask_at_once_is_one_call_with_the_same_answers(
    settings: Settings,
) -> None:
    streams = [Stream(seed) for seed in range(STREAMS)]
    async with connect(settings, Metrics(CollectorRegistry())) as inference:
        shared = Together(inference)
        alone = [await stream.estimate(inference) for stream in streams]
        before = await executions(settings.triton_url, LIVE_VISUAL_BACKBONE.name)
        with ExitStack() as asking:
            for _ in streams:
                asking.enter_context(shared.stream())
            together = await asyncio.gather(*(stream.estimate(shared) for stream in streams))
        after = await executions(settings.triton_url, LIVE_VISUAL_BACKBONE.name)
    assert after[1] - before[1] < STREAMS * FRAMES
    np.testing.assert_allclose(together, alone, rtol=0, atol=ROUNDING)


async def test_a_window_gets_the_estimates_that_a_clip_gets(settings: Settings) -> None:
    stream = Stream(0)
    window = stream.faces, stream.voice, stream.mask
    async with connect(settings, Metrics(CollectorRegistry())) as inference:
        live = await inference.fuse_live(*(each[None] for each in window))
        batch = await inference.fuse(*window)
    for expected, actual in zip(batch, live, strict=True):
        np.testing.assert_allclose(actual[0], expected, rtol=0, atol=ROUNDING)


@pytest.mark.usefixtures("triton_server")
def test_models_of_clips_give_way_to_those_of_streams() -> None:
    niceness: dict[str, set[int]] = {}
    for process in psutil.Process().children(recursive=True):
        if process.name().startswith("triton_python"):
            model = Path(process.cmdline()[1]).parents[1].name
            niceness.setdefault(model, set()).add(process.nice() - psutil.Process().nice())
    assert {model for model, nice in niceness.items() if nice == {10}} == {
        VISUAL_BACKBONE.name,
        FUSION.name,
    }
    assert niceness[LIVE_VISUAL_BACKBONE.name] == niceness[LIVE_FUSION.name] == {0}
