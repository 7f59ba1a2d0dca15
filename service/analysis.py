"""The one story: chunks go through the backbones, windows through the fusion, points come out.

Jobs, the offline command and the bench tell it through `analyse`; streams tell it piece by piece
(service/live), with the same estimation, so that their numbers agree.

    extract ─▶ embed, several chunks at once ─▶ estimate ─▶ points
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from service.domain.arrays import Floats
from service.domain.choices import Choices
from service.domain.clip import Chunk, ClipClosed, ClipOpened, Extract
from service.domain.media import Flag
from service.domain.ports import Extractor, Inference
from service.domain.timeline import (
    AnalysisClosed,
    AnalysisEvent,
    AnalysisOpened,
    FramesDecoded,
    FramesSeen,
)
from service.estimation import Estimation, Method
from service.telemetry.metrics import Metrics

T = TypeVar("T")
R = TypeVar("R")


async def analyse(
    clip: Path,
    choices: Choices,
    *,
    extractor: Extractor,
    inference: Inference,
    method: Method,
    metrics: Metrics,
) -> AsyncGenerator[AnalysisEvent]:
    """Put every frame of a clip on the circumplex.

    Yields: AnalysisOpened; for each chunk FramesDecoded, the points that are settled, in frame
        order within their track, and FramesSeen; TrackDropped at any time; AnalysisClosed.
    Raises: ClipError for the clip, ServiceError for a part of the service.
    """
    analysis = _Analysis(inference=inference, method=method, metrics=metrics)
    async with extractor(clip, choices) as extracts, aclosing(analysis.follow(extracts)) as events:
        async for event in events:
            yield event


@dataclass(frozen=True, slots=True, kw_only=True)
class _Embedded:
    """A chunk behind both backbones: faces (N, 512), voice (T, 128)."""

    chunk: Chunk
    faces: Floats
    voice: Floats


class _Analysis:
    def __init__(self, *, inference: Inference, method: Method, metrics: Metrics) -> None:
        self._metrics = metrics
        self._chunks_in_flight = method.chunks_in_flight
        self._estimation = Estimation(inference=inference, method=method, metrics=metrics)
        self._expected: int | None = None
        self._seen = 0

    async def follow(self, extracts: AsyncIterator[Extract]) -> AsyncGenerator[AnalysisEvent]:
        async with aclosing(ahead(extracts, self._embed, self._chunks_in_flight)) as ready:
            async for item in ready:
                async with aclosing(self._events(item)) as events:
                    async for event in events:
                        yield event

    async def _events(
        self, item: ClipOpened | ClipClosed | _Embedded
    ) -> AsyncGenerator[AnalysisEvent]:
        match item:
            case ClipOpened(media=media):
                self._expected = media.frames_estimate
                yield AnalysisOpened(media=media)
            case _Embedded():
                frames = item.chunk.frames
                yield FramesDecoded(times_seconds=tuple(each.time_seconds for each in frames))
                async for event in self._estimation.add(frames, item.faces, item.voice):
                    yield event
                self._seen += len(frames)
                yield FramesSeen(done=self._seen, expected=self._expected)
            case ClipClosed():
                async for event in self._estimation.close():
                    yield event
                yield self._closed(item)

    async def _embed(self, extract: Extract) -> ClipOpened | ClipClosed | _Embedded:
        """Both backbones at once, for one chunk; chunks do not depend on each other."""
        if not isinstance(extract, Chunk):
            return extract
        for stage, seconds in extract.stage_seconds.items():
            self._metrics.stage_duration_seconds.labels(stage=stage).observe(seconds)
        faces, voice = await asyncio.gather(
            self._estimation.embed_faces(extract.crops, at_once=len(extract.frames)),
            self._estimation.embed_voice(extract.waveform, extract.patch_starts),
        )
        return _Embedded(chunk=extract, faces=faces, voice=voice)

    def _closed(self, clip: ClipClosed) -> AnalysisClosed:
        cast = self._estimation.cast
        flags = {*clip.flags}
        if cast.primary is None:
            flags.add(Flag.NO_FACE)
        if cast.is_crowded:
            flags.add(Flag.CROWDED)
        return AnalysisClosed(
            frames=self._seen,
            flags=tuple(sorted(flags)),
            anomalies=clip.anomalies,
            primary=cast.primary,
        )


async def ahead(
    items: AsyncIterator[T], work: Callable[[T], Awaitable[R]], limit: int
) -> AsyncGenerator[R]:
    """Work on up to `limit` items at once and yield what becomes of them in order."""
    pending: deque[asyncio.Future[R]] = deque()
    try:
        async for item in items:
            pending.append(asyncio.ensure_future(work(item)))
            if len(pending) >= limit or pending[0].done():
                yield await pending.popleft()
        while pending:
            yield await pending.popleft()
    finally:
        for unfinished in pending:
            unfinished.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
