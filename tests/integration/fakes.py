"""Fake analyses that decode nothing, and small fakes of other ports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

from service.domain.clip import (
    AnalysisClosed,
    AnalysisEvent,
    AnalysisOpened,
    AnalysisProgress,
    Estimate,
    FaceBox,
    Flag,
    Frame,
    FramesDecoded,
    TimelinePoint,
    TrackedFace,
)
from service.domain.options import AnalysisOptions
from service.jobs.worker.job_runner import Analyse
from service.pipeline.estimators import ServedEstimator
from tests.sample_media import MEDIA_INFO

TRACKED_FACE = TrackedFace(
    track=1, box=FaceBox(left=1.5, top=2.25, width=30.1, height=31.7, score=0.93)
)


def make_point(index: int) -> TimelinePoint:
    """Make a point of the fake analysis; the first two frames have no face and no estimate."""
    if index < 2:
        frame = Frame(index=index, time_seconds=index / 25)
        return TimelinePoint(track=1, frame=frame, estimate=None)
    return TimelinePoint(
        track=1,
        frame=Frame(index=index, time_seconds=index / 25, faces=(TRACKED_FACE,)),
        estimate=Estimate(
            valence=0.1 * index,
            arousal=-0.1,
            valence_std=1e-7,
            arousal_std=0.2,
            valence_smoothed=0.3,
            arousal_smoothed=1 / 3,
        ),
    )


def make_fake_analysis(frames: int, frame_seconds: float = 0.0) -> Analyse:
    """Make an analysis with a number of frames and a duration of each."""

    async def analyse(
        clip: Path, options: AnalysisOptions, estimator: ServedEstimator
    ) -> AsyncGenerator[AnalysisEvent]:
        assert await asyncio.to_thread(clip.read_bytes)
        yield AnalysisOpened(media=MEDIA_INFO)
        for index in range(frames):
            await asyncio.sleep(frame_seconds)
            yield FramesDecoded(times_seconds=(index / 25,))
            if frames > 2:
                yield make_point(index)
            yield AnalysisProgress(done=index + 1, expected=frames)
        primary = 1 if frames > 2 else None
        yield AnalysisClosed(frames=frames, flags=(Flag.NO_AUDIO,), primary=primary)

    return analyse


def make_failing_analysis(error: Exception) -> Analyse:
    """Make an analysis that opens the clip and raises an error."""

    async def analyse(
        clip: Path, options: AnalysisOptions, estimator: ServedEstimator
    ) -> AsyncGenerator[AnalysisEvent]:
        assert await asyncio.to_thread(clip.read_bytes)
        yield AnalysisOpened(media=MEDIA_INFO)
        raise error

    return analyse


async def iterate_chunks(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def always_ready() -> bool:
    return True
