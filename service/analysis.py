"""The one story: chunks go through the backbones, windows through the fusion, points come out.

Every door (REST job, offline command, bench) tells it through `analyse`, so their numbers agree.

    extract ─▶ embed, several chunks at once ─▶ for each track:
                                      carry ─▶ window ─▶ fuse ─▶ merge ─▶ smooth ─▶ point
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from service.domain.arrays import Floats
from service.domain.cast import Cast, Work
from service.domain.choices import Choices
from service.domain.clip import Chunk, ClipClosed, ClipOpened, Extract
from service.domain.media import Flag
from service.domain.ports import Extractor, Inference
from service.domain.signatures import TARGETS
from service.domain.timeline import (
    AnalysisClosed,
    AnalysisEvent,
    AnalysisOpened,
    FramesDecoded,
    FramesSeen,
    TrackDropped,
)
from service.domain.windows import Answer, Window
from service.telemetry.metrics import Metrics

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """The choices that change the numbers, and how many chunks are under way at once."""

    window_frames: int = 300
    hop_frames: int = 200
    smoothing_seconds: float = 0.2
    chunks_in_flight: int = 3


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
        self._inference = inference
        self._metrics = metrics
        self._chunks_in_flight = method.chunks_in_flight
        self._cast = Cast(
            window_frames=method.window_frames,
            hop_frames=method.hop_frames,
            smoothing_seconds=method.smoothing_seconds,
        )
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
                async for event in self._answered(self._cast.add(frames, item.faces, item.voice)):
                    yield event
                yield self._progress(item)
            case ClipClosed():
                async for event in self._answered(self._cast.close()):
                    yield event
                yield self._closed(item)

    async def _embed(self, extract: Extract) -> ClipOpened | ClipClosed | _Embedded:
        """Both backbones at once, for one chunk; chunks do not depend on each other."""
        if not isinstance(extract, Chunk):
            return extract
        for stage, seconds in extract.stage_seconds.items():
            self._metrics.stage_duration_seconds.labels(stage=stage).observe(seconds)
        faces, voice = await asyncio.gather(
            self._timed("embed_faces", self._embed_faces(extract)),
            self._timed(
                "embed_voice",
                self._inference.embed_voice(extract.waveform, extract.patch_starts),
            ),
        )
        return _Embedded(chunk=extract, faces=faces, voice=voice)

    async def _embed_faces(self, chunk: Chunk) -> Floats:
        """At most as many crops at once as there are frames: what the models were warmed with."""
        at_once = len(chunk.frames)
        parts = [
            await self._inference.embed_faces(chunk.crops[first : first + at_once])
            for first in range(0, max(len(chunk.crops), 1), at_once)
        ]
        return np.concatenate(parts)

    async def _answered(self, work: Work) -> AsyncGenerator[AnalysisEvent]:
        for maker, window in work:
            for point in maker.answer(await self._fuse(window)):
                yield point
        for point in self._cast.take_settled():
            yield point
        for track in self._cast.take_dropped():
            yield TrackDropped(track=track)

    async def _fuse(self, window: Window) -> Answer:
        features = window.features
        if not features.known.any():
            nothing = np.zeros((window.frames, len(TARGETS)), np.float32)
            return Answer(mean=nothing, spread=nothing)
        mean, spread = await self._timed(
            "fuse", self._inference.fuse(features.visual, features.audio, features.known)
        )
        return Answer(mean=mean[: window.frames], spread=spread[: window.frames])

    async def _timed(self, stage: str, work: Awaitable[T]) -> T:
        started = time.perf_counter()
        done = await work
        seconds = time.perf_counter() - started
        self._metrics.stage_duration_seconds.labels(stage=stage).observe(seconds)
        return done

    def _progress(self, embedded: _Embedded) -> FramesSeen:
        frames = embedded.chunk.frames
        found = sum(bool(frame.faces) for frame in frames)
        self._seen += len(frames)
        self._metrics.frames_total.labels(face="found").inc(found)
        self._metrics.frames_total.labels(face="missing").inc(len(frames) - found)
        return FramesSeen(done=self._seen, expected=self._expected)

    def _closed(self, clip: ClipClosed) -> AnalysisClosed:
        primary = self._cast.primary
        flags = {*clip.flags}
        if primary is None:
            flags.add(Flag.NO_FACE)
        if self._cast.is_crowded:
            flags.add(Flag.CROWDED)
        return AnalysisClosed(
            frames=self._seen, flags=tuple(sorted(flags)), anomalies=clip.anomalies, primary=primary
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
