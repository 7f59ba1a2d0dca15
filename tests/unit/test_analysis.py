import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from service.analysis import ahead, analyse
from service.domain.arrays import Booleans, Bytes, Floats, Integers
from service.domain.choices import Choices
from service.domain.clip import (
    Chunk,
    ClipClosed,
    ClipOpened,
    Extract,
    FaceBox,
    Flag,
    Frame,
    TrackedFace,
)
from service.domain.timeline import (
    AnalysisClosed,
    AnalysisEvent,
    AnalysisOpened,
    FramesDecoded,
    FramesSeen,
    TimelinePoint,
)
from service.errors import ClipTooLong, InferenceUnavailable
from service.estimation import Method
from service.telemetry.metrics import Metrics
from tests.facts import MEDIA

FACE = TrackedFace(track=1, box=FaceBox(left=0, top=0, width=10, height=10, score=1))


def chunk(first: int, frames: int, *, face: bool) -> Chunk:
    """Frames whose crops hold their own index in every byte."""
    seen = tuple(
        Frame(index=i, time_seconds=i / 25, faces=(FACE,) if face else ())
        for i in range(first, first + frames)
    )
    crops = np.zeros((frames if face else 0, 3, 112, 112), np.uint8)
    crops[:] = (np.arange(first, first + len(crops)) % 256)[:, None, None, None]
    return Chunk(
        frames=seen,
        crops=crops,
        waveform=np.zeros(16_000 * 2, np.float32),
        patch_starts=np.arange(frames, dtype=np.int64),
        stage_seconds={"decode": 0.1},
    )


class EchoModels:
    """Models that answer with what they were given, late chunks sooner than early ones."""

    def __init__(self) -> None:
        self.at_once = self.max_at_once = 0

    async def embed_faces(self, crops: Bytes) -> Floats:
        self.at_once += 1
        self.max_at_once = max(self.max_at_once, self.at_once)
        await asyncio.sleep(0.002 if len(crops) and crops[0, 0, 0, 0] % 2 else 0)
        self.at_once -= 1
        return np.repeat(crops[:, 0, 0, :1].astype(np.float32) / 255, 512, axis=1)

    async def embed_voice(self, waveform: Floats, patch_starts: Integers) -> Floats:
        return np.zeros((len(patch_starts), 128), np.float32)

    async def fuse(self, visual: Floats, audio: Floats, mask: Booleans) -> tuple[Floats, Floats]:
        return visual[:, :2], np.full((len(visual), 2), 0.1, np.float32)

    async def fuse_live(
        self, visual: Floats, audio: Floats, mask: Booleans
    ) -> tuple[Floats, Floats]:
        return await self.fuse(visual, audio, mask)

    async def is_ready(self) -> bool:
        return True


class ClipOfChunks:
    """An extractor over chunks made in memory; knows whether it was closed."""

    def __init__(self, *extracts: Extract, error: Exception | None = None) -> None:
        self._extracts = extracts
        self._error = error
        self.is_closed = False

    @asynccontextmanager
    async def __call__(
        self, clip: Path, choices: Choices
    ) -> AsyncGenerator[AsyncIterator[Extract]]:
        try:
            yield self._run()
        finally:
            self.is_closed = True

    async def _run(self) -> AsyncIterator[Extract]:
        for extract in self._extracts:
            yield extract
        if self._error:
            raise self._error


async def events_of(extractor: ClipOfChunks, models: EchoModels) -> list[AnalysisEvent]:
    return [
        event
        async for event in analyse(
            Path("clip.mp4"),
            Choices(),
            extractor=extractor,
            inference=models,
            method=Method(smoothing_seconds=0),
            metrics=Metrics(CollectorRegistry()),
        )
    ]


def whole_clip(frames: int) -> ClipOfChunks:
    chunks = [chunk(k, min(5, frames - k), face=True) for k in range(0, frames, 5)]
    return ClipOfChunks(ClipOpened(media=MEDIA), *chunks, ClipClosed(frames=frames))


async def test_points_come_in_frame_order_though_chunks_finish_out_of_order() -> None:
    models = EchoModels()
    events = await events_of(whole_clip(123), models)
    points = [event for event in events if isinstance(event, TimelinePoint)]
    assert [point.frame.index for point in points] == list(range(123))
    valences = [round(p.estimate.valence * 255) if p.estimate else None for p in points]
    assert valences == list(range(123))
    assert models.max_at_once == Method().chunks_in_flight


async def test_events_open_report_progress_and_close() -> None:
    events = await events_of(whole_clip(12), EchoModels())
    assert events[0] == AnalysisOpened(media=MEDIA)
    progress = [event for event in events if isinstance(event, FramesSeen)]
    assert [seen.done for seen in progress] == [5, 10, 12]
    times = [t for e in events if isinstance(e, FramesDecoded) for t in e.times_seconds]
    assert times == [index / 25 for index in range(12)]
    assert events[-1] == AnalysisClosed(frames=12, flags=(), primary=1)


class NoFusion(EchoModels):
    async def fuse(self, visual: Floats, audio: Floats, mask: Booleans) -> tuple[Floats, Floats]:
        raise AssertionError("there is nothing to fuse")


async def test_clip_without_faces_keeps_its_rows_and_is_never_fused() -> None:
    chunks = [chunk(k, 5, face=False) for k in range(0, 400, 5)]
    closed = ClipClosed(frames=400, flags=(Flag.NO_FACE,))
    clip = ClipOfChunks(ClipOpened(media=MEDIA), *chunks, closed)
    events = await events_of(clip, NoFusion())
    assert events[-1] == AnalysisClosed(frames=400, flags=(Flag.NO_FACE,))
    assert sum(len(e.times_seconds) for e in events if isinstance(e, FramesDecoded)) == 400
    assert not any(isinstance(event, TimelinePoint) for event in events)


async def test_clip_error_reaches_the_caller_and_closes_the_extractor() -> None:
    extractor = ClipOfChunks(ClipOpened(media=MEDIA), error=ClipTooLong())
    with pytest.raises(ClipTooLong):
        await events_of(extractor, EchoModels())
    assert extractor.is_closed


class AbsentModels(EchoModels):
    async def embed_faces(self, crops: Bytes) -> Floats:
        raise InferenceUnavailable


async def test_models_that_are_away_end_the_analysis_with_their_error() -> None:
    extractor = whole_clip(50)
    with pytest.raises(InferenceUnavailable):
        await events_of(extractor, AbsentModels())
    assert extractor.is_closed


async def test_analysis_that_is_left_early_closes_the_extractor() -> None:
    extractor = whole_clip(5000)
    events = analyse(
        Path("clip.mp4"),
        Choices(),
        extractor=extractor,
        inference=EchoModels(),
        method=Method(),
        metrics=Metrics(CollectorRegistry()),
    )
    async with aclosing(events):
        async for event in events:
            if isinstance(event, TimelinePoint):
                break
    assert extractor.is_closed


async def test_ahead_cancels_what_is_under_way_when_it_is_closed() -> None:
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

    async with aclosing(ahead(numbers(), work, 3)) as results:
        assert await anext(results) == 0
    assert cancelled == [1, 2]
