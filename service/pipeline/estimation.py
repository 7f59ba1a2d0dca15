"""From crops and sound to points: backbones, windows, fusion, for every track at once.

What a job and a stream have in common, and why their numbers agree.

    embed ─▶ for each track: carry ─▶ window ─▶ fuse ─▶ merge ─▶ smooth ─▶ point
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from service.domain.array_types import Float32Array, Int64Array, UInt8Array
from service.domain.clip import Frame
from service.domain.model_signatures import TARGETS
from service.domain.ports import Inference
from service.domain.timeline import TimelinePoint, TrackDropped
from service.domain.track_manager import FusionRequests, TrackManager
from service.domain.windows import FusionOutput, Window
from service.settings import Settings
from service.telemetry.metrics import Metrics

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimationParameters:
    """The choices that change the numbers, and how many chunks are under way at once."""

    window_frames: int = 300
    hop_frames: int = 200
    smoothing_seconds: float = 0.2
    chunks_in_flight: int = 3

    @staticmethod
    def from_settings(settings: Settings) -> EstimationParameters:
        """The method of this service."""
        return EstimationParameters(
            window_frames=settings.window_frames,
            hop_frames=settings.hop_frames,
            smoothing_seconds=settings.smoothing_seconds,
            chunks_in_flight=settings.chunks_in_flight,
        )


class Estimator:
    """The estimation of one clip or stream; raises InferenceUnavailable or InferenceFailed."""

    def __init__(
        self, *, inference: Inference, parameters: EstimationParameters, metrics: Metrics
    ) -> None:
        self._inference = inference
        self._metrics = metrics
        self.tracks = TrackManager(
            window_frames=parameters.window_frames,
            hop_frames=parameters.hop_frames,
            smoothing_seconds=parameters.smoothing_seconds,
        )

    async def embed_faces(self, crops: UInt8Array, *, batch_size: int) -> Float32Array:
        """(N, 3, 112, 112) to (N, 512), at most so many at a time: what the models are warm for."""
        started = time.perf_counter()
        parts = [
            await self._inference.embed_faces(crops[first : first + batch_size])
            for first in range(0, max(len(crops), 1), batch_size)
        ]
        self._observe("embed_faces", started)
        return np.concatenate(parts)

    async def embed_voice(self, waveform: Float32Array, patch_starts: Int64Array) -> Float32Array:
        """(S,) at 16 kHz and (T,) 10 ms hops to (T, 128)."""
        started = time.perf_counter()
        voice = await self._inference.embed_voice(waveform, patch_starts)
        self._observe("embed_voice", started)
        return voice

    async def add(
        self, frames: Sequence[Frame], faces: Float32Array, voice: Float32Array
    ) -> AsyncGenerator[TimelinePoint | TrackDropped]:
        """Take the next T frames, the (N, 512) faces in them and their (T, 128) voice.

        Which tracks rest, and when, depends on how many frames come at a time: the same number,
        `chunk_frames`, for jobs and streams.

        Yields: the points that are settled, in frame order within their track; TrackDropped.
        """
        async for event in self._run_fusion(self.tracks.add(frames, faces, voice)):
            yield event
        found = sum(bool(frame.faces) for frame in frames)
        self._metrics.frames_total.labels(face="found").inc(found)
        self._metrics.frames_total.labels(face="missing").inc(len(frames) - found)

    async def close(self) -> AsyncGenerator[TimelinePoint | TrackDropped]:
        """Yield the points that were waiting for frames that will not come."""
        async for event in self._run_fusion(self.tracks.close()):
            yield event

    async def _run_fusion(
        self, requests: FusionRequests
    ) -> AsyncGenerator[TimelinePoint | TrackDropped]:
        for pipeline, window in requests:
            for point in pipeline.add_fusion_output(await self._fuse(window)):
                yield point
        for point in self.tracks.take_final_points():
            yield point
        for track in self.tracks.take_dropped_tracks():
            yield TrackDropped(track=track)

    async def _fuse(self, window: Window) -> FusionOutput:
        features = window.features
        if not features.mask.any():
            nothing = np.zeros((window.frames, len(TARGETS)), np.float32)
            return FusionOutput(mean=nothing, spread=nothing)
        mean, spread = await self._timed_fusion(
            self._inference.fuse(features.visual, features.audio, features.mask)
        )
        return FusionOutput(mean=mean[: window.frames], spread=spread[: window.frames])

    async def _timed_fusion(self, work: Awaitable[T]) -> T:
        started = time.perf_counter()
        done = await work
        self._observe("fuse", started)
        return done

    def _observe(self, stage: str, started: float) -> None:
        seconds = time.perf_counter() - started
        self._metrics.stage_duration_seconds.labels(stage=stage).observe(seconds)
