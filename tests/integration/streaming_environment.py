"""Streams and jobs over real decode processes and a real Triton."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
from circumplex.v1 import annotation_pb2 as wire
from prometheus_client import CollectorRegistry

from service.decoding.extractor import open_clip_extractor, open_stream_extractor
from service.domain.array_types import Float32Array
from service.domain.clip import AnalysisClosed, AnalysisEvent, TimelinePoint
from service.domain.options import AnalysisOptions, FaceSelection
from service.pipeline.clip_analysis import analyse
from service.pipeline.estimators import EstimatorCatalog, ServedEstimator
from service.settings import Settings
from service.streaming.resume.checkpoint_store import CheckpointStore
from service.streaming.stream_manager import StreamManager
from service.telemetry.metrics import Metrics
from service.triton.client import connect_triton
from tests.unit.streaming.stream_harness import annotate_messages

COLUMNS = (
    *("valence", "arousal", "valence_std", "arousal_std"),
    *("valence_smoothed", "arousal_smoothed"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamingEnvironment:
    """A stream manager and the analysis of jobs with the same settings."""

    settings: Settings
    streams: StreamManager
    analyse: partial[AsyncGenerator[AnalysisEvent]]
    estimators: EstimatorCatalog

    async def open_estimator(self, model: str | None = None) -> ServedEstimator:
        """Open an estimator, or the default one."""
        return await self.estimators.open(self.estimators.choose(model))

    async def run_job(self, clip: Path, model: str | None = None) -> Float32Array:
        """Analyse a clip.

        Returns: (T, 7 + C): time, COLUMNS and class probabilities of the primary track, NaN if
            missing.
        """
        points: list[TimelinePoint] = []
        primary: int | None = None
        estimator = await self.open_estimator(model)
        options = AnalysisOptions(faces=FaceSelection.PRIMARY)
        async for event in self.analyse(clip, options, estimator=estimator):
            if isinstance(event, TimelinePoint):
                points.append(event)
            elif isinstance(event, AnalysisClosed):
                primary = event.primary
        primary_points = [point for point in points if point.track == primary]
        return np.array(
            [
                [point.frame.time_seconds]
                + [
                    np.nan if point.estimate is None else getattr(point.estimate, c)
                    for c in COLUMNS
                ]
                + (list(point.class_probabilities) or [np.nan] * len(estimator.manifest.classes))
                for point in primary_points
            ]
        )

    async def run_stream(
        self, *requests: wire.StreamingAnnotateRequest
    ) -> list[wire.StreamingAnnotateResponse]:
        """Annotate a stream; returns all replies."""
        return [
            reply async for reply in annotate_messages(self.streams, iterate_requests(requests))
        ]


@asynccontextmanager
async def open_streaming_environment(settings: Settings) -> AsyncGenerator[StreamingEnvironment]:
    """Open an environment; streams and jobs share one Triton."""
    metrics = Metrics(CollectorRegistry())
    async with (
        connect_triton(settings, metrics) as triton,
        open_clip_extractor(settings) as extractor,
        open_stream_extractor(settings) as stream_extractor,
        CheckpointStore.open(settings) as checkpoint_store,
    ):
        estimators = EstimatorCatalog(settings, triton)
        yield StreamingEnvironment(
            settings=settings,
            streams=StreamManager(
                settings=settings,
                extractor=stream_extractor,
                estimators=estimators,
                checkpoint_store=checkpoint_store,
                metrics=metrics,
            ),
            analyse=partial(analyse, extractor=extractor, metrics=metrics),
            estimators=estimators,
        )


async def iterate_requests(
    requests: Iterator[wire.StreamingAnnotateRequest] | tuple[wire.StreamingAnnotateRequest, ...],
) -> AsyncIterator[wire.StreamingAnnotateRequest]:
    for request in requests:
        yield request


def make_container_requests(
    content: bytes, *, seed: int, max_chunk_bytes: int = 40_000
) -> Iterator[wire.StreamingAnnotateRequest]:
    """Yield a config, then the bytes in chunks of random sizes."""
    yield wire.StreamingAnnotateRequest(config=wire.StreamConfig(container=wire.ContainerMedia()))
    cuts = random.Random(seed)
    while content:
        size = cuts.randint(1, cuts.choice([10, 1000, max_chunk_bytes]))
        chunk, content = content[:size], content[size:]
        yield wire.StreamingAnnotateRequest(container=wire.ContainerChunk(data=chunk))


def make_frame_requests(clip: Path, *, seed: int) -> Iterator[wire.StreamingAnnotateRequest]:
    """Yield a config, the frames of a Motion-JPEG clip and its PCM audio in random chunks."""
    with av.open(str(clip)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        audio_format = wire.AudioFormat(
            encoding=wire.SAMPLE_ENCODING_S16LE,
            sample_rate_hz=audio.rate,
            channels=audio.channels,
        )
        media = wire.FrameMedia(encoding=wire.FRAME_ENCODING_JPEG, audio=audio_format)
        yield wire.StreamingAnnotateRequest(config=wire.StreamConfig(frames=media))
        cuts = random.Random(seed)
        for packet in container.demux(video, audio):
            data = bytes(packet)
            if packet.stream is video and data:
                assert packet.pts is not None
                assert packet.time_base is not None
                seconds = float(packet.pts * packet.time_base)
                yield wire.StreamingAnnotateRequest(
                    frame=wire.VideoFrame(time_seconds=seconds, data=data)
                )
            while packet.stream is audio and data:
                size = 2 * audio.channels * cuts.randint(1, 2000)
                piece, data = data[:size], data[size:]
                yield wire.StreamingAnnotateRequest(audio=wire.AudioChunk(data=piece))


def collect_final_results(replies: list[wire.StreamingAnnotateResponse]) -> Float32Array:
    """Final results in the shape of `run_job`; each index once, in order."""
    class_count = len(replies[0].config_ack.classes)
    finals = [each.frame_result for each in replies if each.frame_result.is_final]
    assert [each.index for each in finals] == list(range(len(finals)))
    rows: list[list[float]] = []
    for each in finals:
        track = each.tracks[0] if each.tracks else None
        if track is not None and track.HasField("estimate"):
            values = [float(getattr(track.estimate, column)) for column in COLUMNS]
        else:
            values = [float("nan")] * len(COLUMNS)
        probabilities = list(track.class_probabilities) if track is not None else []
        rows.append([each.time_seconds, *values, *(probabilities or [np.nan] * class_count)])
    return np.array(rows)
