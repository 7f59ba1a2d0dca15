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

from service.analysis import analyse
from service.domain.arrays import Floats
from service.domain.caller import ANYONE
from service.domain.choices import Choices, Faces
from service.domain.timeline import AnalysisClosed, TimelinePoint
from service.estimation import Method
from service.extraction.door import open_extraction
from service.extraction.live_door import open_live_extraction
from service.jobs.annotator import Analyse
from service.live.archive import Archive
from service.live.streams import Streams
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.triton.client import connect

COLUMNS = (
    *("valence", "arousal", "valence_std", "arousal_std"),
    *("valence_smoothed", "arousal_smoothed"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveStage:
    """Both ways through the service."""

    settings: Settings
    streams: Streams
    analyse: Analyse

    async def job(self, clip: Path) -> Floats:
        """(T, 1 + 6): time, and the columns of the primary track, NaN where there is nothing."""
        points: list[TimelinePoint] = []
        primary: int | None = None
        async for event in self.analyse(clip, Choices(faces=Faces.PRIMARY)):
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

    async def stream(
        self, *requests: wire.StreamingAnnotateRequest
    ) -> list[wire.StreamingAnnotateResponse]:
        """Every reply to these requests."""
        return [reply async for reply in self.streams.annotate(sent(requests), ANYONE)]


@asynccontextmanager
async def open_live_stage(settings: Settings) -> AsyncGenerator[LiveStage]:
    """Streams and jobs on one Triton."""
    metrics = Metrics(CollectorRegistry())
    async with (
        connect(settings, metrics) as inference,
        open_extraction(settings) as extractor,
        open_live_extraction(settings) as live_extractor,
        Archive.open(settings) as archive,
    ):
        yield LiveStage(
            settings=settings,
            streams=Streams(
                settings=settings,
                extractor=live_extractor,
                inference=inference,
                weights=dict,
                archive=archive,
                metrics=metrics,
            ),
            analyse=partial(
                analyse,
                extractor=extractor,
                inference=inference,
                method=Method.of(settings),
                metrics=metrics,
            ),
        )


async def sent(
    requests: Iterator[wire.StreamingAnnotateRequest] | tuple[wire.StreamingAnnotateRequest, ...],
) -> AsyncIterator[wire.StreamingAnnotateRequest]:
    for request in requests:
        yield request


def container_requests(
    content: bytes, *, seed: int, largest: int = 40_000
) -> Iterator[wire.StreamingAnnotateRequest]:
    """A config, then the bytes cut at random."""
    yield wire.StreamingAnnotateRequest(config=wire.StreamConfig(container=wire.ContainerMedia()))
    cuts = random.Random(seed)
    while content:
        size = cuts.randint(1, cuts.choice([10, 1000, largest]))
        chunk, content = content[:size], content[size:]
        yield wire.StreamingAnnotateRequest(container=wire.ContainerChunk(data=chunk))


def frame_requests(clip: Path, *, seed: int) -> Iterator[wire.StreamingAnnotateRequest]:
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


def finals_of(replies: list[wire.StreamingAnnotateResponse]) -> Floats:
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
