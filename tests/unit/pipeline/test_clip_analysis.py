"""Clip analysis: order of events, errors, cancellation."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from service.domain.array_types import BoolArray, Float32Array, Int64Array, UInt8Array
from service.domain.clip import (
    AnalysisClosed,
    AnalysisEvent,
    AnalysisOpened,
    AnalysisProgress,
    Chunk,
    ClipClosed,
    ClipOpened,
    ExtractionEvent,
    FaceBox,
    Flag,
    Frame,
    FramesDecoded,
    TimelinePoint,
    TrackedFace,
)
from service.domain.options import AnalysisOptions
from service.errors import ClipTooLong, DecoderCrashed, InferenceUnavailable
from service.pipeline.clip_analysis import analyse, map_ahead
from service.pipeline.estimation import EstimationParameters
from service.telemetry.metrics import Metrics
from tests.fake_estimators import make_served_estimator
from tests.sample_media import MEDIA_INFO

FACE = TrackedFace(track=1, box=FaceBox(left=0, top=0, width=10, height=10, score=1))


def make_chunk(first: int, frames: int, *, face: bool) -> Chunk:
    """A chunk whose crops are filled with the index of their frame."""
    rows = tuple(
        Frame(index=i, time_seconds=i / 25, faces=(FACE,) if face else ())
        for i in range(first, first + frames)
    )
    crops = np.zeros((frames if face else 0, 3, 112, 112), np.uint8)
    crops[:] = (np.arange(first, first + len(crops)) % 256)[:, None, None, None]
    return Chunk(
        frames=rows,
        crops=crops,
        waveform=np.zeros(16_000 * 2, np.float32),
        patch_starts=np.arange(frames, dtype=np.int64),
        stage_seconds={"decode": 0.1},
    )


class EchoClipModels:
    """Models that return their input; even chunks finish before odd ones."""

    def __init__(self) -> None:
        self.in_flight = self.max_in_flight = 0

    async def embed_faces(self, crops: UInt8Array) -> Float32Array:
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        await asyncio.sleep(0.002 if len(crops) and crops[0, 0, 0, 0] % 2 else 0)
        self.in_flight -= 1
        return np.repeat(crops[:, 0, 0, :1].astype(np.float32) / np.float32(255), 512, axis=1)

    async def embed_voice(self, waveform: Float32Array, patch_starts: Int64Array) -> Float32Array:
        return np.zeros((len(patch_starts), 128), np.float32)

    async def fuse(
        self, visual: Float32Array, audio: Float32Array, mask: BoolArray
    ) -> tuple[Float32Array, Float32Array]:
        return visual[:, :2], np.full((len(visual), 2), 0.1, np.float32)

    async def fuse_live(
        self, visual: Float32Array, audio: Float32Array, mask: BoolArray
    ) -> tuple[Float32Array, Float32Array]:
        return await self.fuse(visual, audio, mask)


class FakeChunkExtractor:
    """An extractor of chunks made in memory; records whether it was closed."""

    def __init__(self, *extracts: ExtractionEvent, error: Exception | None = None) -> None:
        self._extracts = extracts
        self._error = error
        self.is_closed = False

    @asynccontextmanager
    async def __call__(
        self, clip: Path, options: AnalysisOptions
    ) -> AsyncGenerator[AsyncIterator[ExtractionEvent]]:
        try:
            yield self._run()
        finally:
            self.is_closed = True

    async def _run(self) -> AsyncIterator[ExtractionEvent]:
        for extract in self._extracts:
            yield extract
        if self._error:
            raise self._error


async def collect_events(
    extractor: FakeChunkExtractor, models: EchoClipModels
) -> list[AnalysisEvent]:
    return [
        event
        async for event in analyse(
            Path("clip.mp4"),
            AnalysisOptions(),
            extractor=extractor,
            estimator=make_served_estimator(models, EstimationParameters(smoothing_seconds=0)),
            metrics=Metrics(CollectorRegistry()),
        )
    ]


def make_clip(frames: int) -> FakeChunkExtractor:
    chunks = [make_chunk(k, min(5, frames - k), face=True) for k in range(0, frames, 5)]
    return FakeChunkExtractor(ClipOpened(media=MEDIA_INFO), *chunks, ClipClosed(frames=frames))


async def test_points_come_in_frame_order_though_chunks_finish_out_of_order() -> None:
    models = EchoClipModels()
    events = await collect_events(make_clip(123), models)
    points = [event for event in events if isinstance(event, TimelinePoint)]
    assert [point.frame.index for point in points] == list(range(123))
    valences = [round(p.estimate.valence * 255) if p.estimate else None for p in points]
    assert valences == list(range(123))
    assert models.max_in_flight == EstimationParameters().chunks_in_flight


async def test_events_open_report_progress_and_close() -> None:
    events = await collect_events(make_clip(12), EchoClipModels())
    assert events[0] == AnalysisOpened(media=MEDIA_INFO)
    progress = [event for event in events if isinstance(event, AnalysisProgress)]
    assert [event.done for event in progress] == [5, 10, 12]
    times = [t for e in events if isinstance(e, FramesDecoded) for t in e.times_seconds]
    assert times == [index / 25 for index in range(12)]
    assert events[-1] == AnalysisClosed(frames=12, flags=(), primary=1)


class ModelsWithoutFusion(EchoClipModels):
    async def fuse(
        self, visual: Float32Array, audio: Float32Array, mask: BoolArray
    ) -> tuple[Float32Array, Float32Array]:
        raise AssertionError("there is nothing to fuse")


async def test_clip_without_faces_has_its_rows_and_is_never_fused() -> None:
    chunks = [make_chunk(k, 5, face=False) for k in range(0, 400, 5)]
    closed = ClipClosed(frames=400, flags=(Flag.NO_FACE,))
    clip = FakeChunkExtractor(ClipOpened(media=MEDIA_INFO), *chunks, closed)
    events = await collect_events(clip, ModelsWithoutFusion())
    assert events[-1] == AnalysisClosed(frames=400, flags=(Flag.NO_FACE,))
    assert sum(len(e.times_seconds) for e in events if isinstance(e, FramesDecoded)) == 400
    assert not any(isinstance(event, TimelinePoint) for event in events)


async def test_clip_error_reaches_the_caller_and_closes_the_extractor() -> None:
    extractor = FakeChunkExtractor(ClipOpened(media=MEDIA_INFO), error=ClipTooLong())
    with pytest.raises(ClipTooLong):
        await collect_events(extractor, EchoClipModels())
    assert extractor.is_closed


class UnavailableModels(EchoClipModels):
    async def embed_faces(self, crops: UInt8Array) -> Float32Array:
        raise InferenceUnavailable


async def test_unavailable_models_end_the_analysis_with_their_error() -> None:
    extractor = make_clip(50)
    with pytest.raises(InferenceUnavailable):
        await collect_events(extractor, UnavailableModels())
    assert extractor.is_closed


async def test_abandoned_analysis_closes_the_extractor() -> None:
    extractor = make_clip(5000)
    events = analyse(
        Path("clip.mp4"),
        AnalysisOptions(),
        extractor=extractor,
        estimator=make_served_estimator(EchoClipModels()),
        metrics=Metrics(CollectorRegistry()),
    )
    async with aclosing(events):
        async for event in events:
            if isinstance(event, TimelinePoint):
                break
    assert extractor.is_closed


async def test_map_ahead_cancels_pending_work_when_closed() -> None:
    cancelled: list[int] = []

    async def numbers() -> AsyncIterator[int]:
        for number in range(10):
            yield number

    async def work(number: int) -> int:
        try:
            await asyncio.sleep(3600 if number else 0)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    async with aclosing(map_ahead(numbers(), work, 3)) as results:
        assert await anext(results) == 0
    assert cancelled == [1, 2]


async def test_map_ahead_works_on_items_while_a_result_is_consumed() -> None:
    begun: list[int] = []
    is_third = asyncio.Event()

    async def numbers() -> AsyncIterator[int]:
        for number in range(5):
            yield number

    async def work(number: int) -> int:
        begun.append(number)
        if number == 3:
            is_third.set()
        return number

    async with aclosing(map_ahead(numbers(), work, 3)) as results:
        assert await anext(results) == 0
        await asyncio.wait_for(is_third.wait(), 30)
        assert begun == [0, 1, 2, 3]
        assert [number async for number in results] == [1, 2, 3, 4]


async def test_map_ahead_raises_the_error_of_the_items_after_their_results() -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 0
        raise DecoderCrashed

    async def work(number: int) -> int:
        return number

    async with aclosing(map_ahead(numbers(), work, 3)) as results:
        assert await anext(results) == 0
        with pytest.raises(DecoderCrashed):
            await anext(results)
