"""Streams over real children and a real Triton, and what a job would say of the same clip."""

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
from service.domain.caller import ANONYMOUS
from service.domain.options import AnalysisOptions, FaceSelection
from service.domain.timeline import AnalysisClosed, TimelinePoint
from service.jobs.worker.job_runner import Analyse
from service.pipeline.clip_analysis import analyse
from service.pipeline.estimation import EstimationParameters
from service.settings import Settings
from service.streaming.resume.checkpoint_store import CheckpointStore
from service.streaming.stream_manager import StreamManager
from service.telemetry.metrics import Metrics
from service.triton.client import connect_triton

COLUMNS = (
    *("valence", "arousal", "valence_std", "arousal_std"),
    *("valence_smoothed", "arousal_smoothed"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamingEnvironment:
    """Both ways through the service."""

    settings: Settings
    streams: StreamManager
    analyse: Analyse

    async def run_job(self, clip: Path) -> Float32Array:
        """(T, 1 + 6): time, and the columns of the primary track, NaN where there is nothing."""
        points: list[TimelinePoint] = []
        primary: int | None = None
        async for event in self.analyse(clip, AnalysisOptions(faces=FaceSelection.PRIMARY)):
            if isinstance(event, TimelinePoint):
                points.append(event)
            elif isinstance(event, AnalysisClosed):
                primary = event.primary
        told = [point for point in points if point.track == primary]
        return np.array(
            [
                [point.frame.time_seconds]
                + [
                    np.nan if point.estimate is None else getattr(point.estimate, c)
                    for c in COLUMNS
                ]
                for point in told
            ]
        )

    async def run_stream(
        self, *requests: wire.StreamingAnnotateRequest
    ) -> list[wire.StreamingAnnotateResponse]:
        """Every reply to these requests."""
        return [
            reply async for reply in self.streams.annotate(iterate_requests(requests), ANONYMOUS)
        ]


@asynccontextmanager
async def open_streaming_environment(settings: Settings) -> AsyncGenerator[StreamingEnvironment]:
    """Streams and jobs on one Triton."""
    metrics = Metrics(CollectorRegistry())
    async with (
        connect_triton(settings, metrics) as inference,
        open_clip_extractor(settings) as extractor,
        open_stream_extractor(settings) as live_extractor,
        CheckpointStore.open(settings) as archive,
    ):
        yield StreamingEnvironment(
            settings=settings,
            streams=StreamManager(
                settings=settings,
                extractor=live_extractor,
                inference=inference,
                weights=dict,
                checkpoint_store=archive,
                metrics=metrics,
            ),
            analyse=partial(
                analyse,
                extractor=extractor,
                inference=inference,
                parameters=EstimationParameters.from_settings(settings),
                metrics=metrics,
            ),
        )


async def iterate_requests(
    requests: Iterator[wire.StreamingAnnotateRequest] | tuple[wire.StreamingAnnotateRequest, ...],
) -> AsyncIterator[wire.StreamingAnnotateRequest]:
    for request in requests:
        yield request


def make_container_requests(
    content: bytes, *, seed: int, max_chunk_bytes: int = 40_000
) -> Iterator[wire.StreamingAnnotateRequest]:
    """A config, then the bytes cut at random."""
    yield wire.StreamingAnnotateRequest(config=wire.StreamConfig(container=wire.ContainerMedia()))
    cuts = random.Random(seed)
    while content:
        size = cuts.randint(1, cuts.choice([10, 1000, max_chunk_bytes]))
        chunk, content = content[:size], content[size:]
        yield wire.StreamingAnnotateRequest(container=wire.ContainerChunk(data=chunk))


def make_frame_requests(clip: Path, *, seed: int) -> Iterator[wire.StreamingAnnotateRequest]:
    """The pictures of a Motion-JPEG clip as they are, and its PCM sound cut at random."""
    with av.open(str(clip)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        sound = wire.AudioFormat(
            encoding=wire.SAMPLE_ENCODING_S16LE,
            sample_rate_hz=audio.rate,
            channels=audio.channels,
        )
        media = wire.FrameMedia(encoding=wire.FRAME_ENCODING_JPEG, audio=sound)
        yield wire.StreamingAnnotateRequest(config=wire.StreamConfig(frames=media))
        cuts = random.Random(seed)
        for packet in container.demux(video, audio):
            data = bytes(packet)
            if packet.stream is video and data:
                seconds = float(packet.pts * packet.time_base)
                yield wire.StreamingAnnotateRequest(
                    frame=wire.VideoFrame(time_seconds=seconds, data=data)
                )
            while packet.stream is audio and data:
                size = 2 * audio.channels * cuts.randint(1, 2000)
                piece, data = data[:size], data[size:]
                yield wire.StreamingAnnotateRequest(audio=wire.AudioChunk(data=piece))


def collect_final_results(replies: list[wire.StreamingAnnotateResponse]) -> Float32Array:
    """The final results as `LiveStage.job` has them; each index once, in order."""
    finals = [each.frame_result for each in replies if each.frame_result.is_final]
    assert [each.index for each in finals] == list(range(len(finals)))
    rows: list[list[float]] = []
    for each in finals:
        told = each.tracks[0] if each.tracks else None
        if told is not None and told.HasField("estimate"):
            values = [float(getattr(told.estimate, column)) for column in COLUMNS]
        else:
            values = [float("nan")] * len(COLUMNS)
        rows.append([each.time_seconds, *values])
    return np.array(rows)
