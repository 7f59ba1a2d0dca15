"""Clip analysis: estimates valence and arousal for every frame of a clip, as events.

Jobs, the command `annotate` and the benchmarks use `analyse`; streams (service/streaming) share the
estimation, so that their numbers agree.

    extract ─▶ embed, several chunks at once ─▶ estimate ─▶ points
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from service.domain.array_types import Float32Array
from service.domain.clip import (
    AnalysisClosed,
    AnalysisEvent,
    AnalysisOpened,
    AnalysisProgress,
    Chunk,
    ClipClosed,
    ClipOpened,
    ExtractionEvent,
    FramesDecoded,
)
from service.domain.media import Flag
from service.domain.options import AnalysisOptions
from service.domain.ports import ClipExtractor
from service.pipeline.estimation import Estimator
from service.pipeline.estimators import ServedEstimator
from service.telemetry.metrics import Metrics

T = TypeVar("T")
R = TypeVar("R")


async def analyse(
    clip: Path,
    options: AnalysisOptions,
    *,
    extractor: ClipExtractor,
    estimator: ServedEstimator,
    metrics: Metrics,
) -> AsyncGenerator[AnalysisEvent]:
    """Analyse a clip.

    Yields: AnalysisOpened; for each chunk FramesDecoded, the points that are final, in frame
        order within their track, and AnalysisProgress; TrackDropped at any time; AnalysisClosed.
    Raises: ClipError: the clip is at fault; ServiceError: a part of the service is.
    """
    analysis = _ClipAnalysis(estimator, metrics=metrics)
    async with extractor(clip, options) as extracts, aclosing(analysis.run(extracts)) as events:
        async for event in events:
            yield event


@dataclass(frozen=True, slots=True, kw_only=True)
class _EmbeddedChunk:
    """A chunk with its embeddings: faces (N, 512), voice (T, 128)."""

    chunk: Chunk
    faces: Float32Array
    voice: Float32Array


class _ClipAnalysis:
    """State of one analysis: its estimator, and the frames done so far."""

    def __init__(self, estimator: ServedEstimator, *, metrics: Metrics) -> None:
        self._metrics = metrics
        self._chunks_in_flight = estimator.parameters.chunks_in_flight
        self._estimator = Estimator(
            inference=estimator.inference,
            parameters=estimator.parameters,
            metrics=metrics,
            model=estimator.id,
        )
        self._expected_frames: int | None = None
        self._done_frames = 0

    async def run(self, extracts: AsyncIterator[ExtractionEvent]) -> AsyncGenerator[AnalysisEvent]:
        async with aclosing(map_ahead(extracts, self._embed, self._chunks_in_flight)) as ready:
            async for item in ready:
                async with aclosing(self._events(item)) as events:
                    async for event in events:
                        yield event

    async def _events(
        self, item: ClipOpened | ClipClosed | _EmbeddedChunk
    ) -> AsyncGenerator[AnalysisEvent]:
        match item:
            case ClipOpened(media=media):
                self._expected_frames = media.frames_estimate
                yield AnalysisOpened(media=media)
            case _EmbeddedChunk():
                frames = item.chunk.frames
                yield FramesDecoded(times_seconds=tuple(each.time_seconds for each in frames))
                async for event in self._estimator.add(frames, item.faces, item.voice):
                    yield event
                self._done_frames += len(frames)
                yield AnalysisProgress(done=self._done_frames, expected=self._expected_frames)
            case ClipClosed():
                async for event in self._estimator.close():
                    yield event
                yield self._make_closed(item)

    async def _embed(self, extract: ExtractionEvent) -> ClipOpened | ClipClosed | _EmbeddedChunk:
        """Run both backbones on a chunk concurrently; chunks are independent of each other."""
        if not isinstance(extract, Chunk):
            return extract
        for stage, seconds in extract.stage_seconds.items():
            self._metrics.stage_duration_seconds.labels(stage=stage).observe(seconds)
        faces, voice = await asyncio.gather(
            self._estimator.embed_faces(extract.crops, batch_size=len(extract.frames)),
            self._estimator.embed_voice(extract.waveform, extract.patch_starts),
        )
        return _EmbeddedChunk(chunk=extract, faces=faces, voice=voice)

    def _make_closed(self, clip: ClipClosed) -> AnalysisClosed:
        tracks = self._estimator.tracks
        flags = {*clip.flags}
        if tracks.primary_track is None:
            flags.add(Flag.NO_FACE)
        if tracks.is_crowded:
            flags.add(Flag.CROWDED)
        return AnalysisClosed(
            frames=self._done_frames,
            flags=tuple(sorted(flags)),
            anomalies=clip.anomalies,
            primary=tracks.primary_track,
        )


async def map_ahead(
    items: AsyncIterator[T], work: Callable[[T], Awaitable[R]], limit: int
) -> AsyncGenerator[R]:
    """Apply `work` to up to `limit` items concurrently and yield the results in order.

    Items are read while the consumer works on a result.
    """
    pending = asyncio.Queue[asyncio.Future[R] | None]()
    free = asyncio.Semaphore(limit)
    unfinished = list[asyncio.Future[R]]()

    async def start_work() -> None:
        """Start the work on each item; the end, or the error of the items, comes last."""
        try:
            await free.acquire()
            async for item in items:
                begun = asyncio.ensure_future(work(item))
                unfinished.append(begun)
                pending.put_nowait(begun)
                await free.acquire()
        finally:
            pending.put_nowait(None)

    reading = asyncio.create_task(start_work())
    try:
        while (begun := await pending.get()) is not None:
            result = await begun
            unfinished.remove(begun)
            free.release()
            yield result
        await reading
    finally:
        for each in (reading, *unfinished):
            each.cancel()
        await asyncio.gather(reading, *unfinished, return_exceptions=True)
