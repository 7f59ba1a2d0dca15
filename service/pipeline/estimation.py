"""Estimation: crops and audio to points, through backbones, windows and fusion, for every track.

Shared by jobs and streams, so that their numbers agree.

    embed ─▶ for each track: forward fill ─▶ window ─▶ fuse ─▶ merge ─▶ smooth ─▶ point
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from service.domain.array_types import Float32Array, Int64Array, UInt8Array
from service.domain.clip import Frame, TimelinePoint, TrackDropped
from service.domain.estimator import EstimatorId, EstimatorManifest
from service.domain.model_signatures import TARGETS
from service.domain.ports import Inference
from service.domain.track_manager import FusionRequests, TrackManager
from service.domain.uncertainty import UNCALIBRATED, UncertaintyModel
from service.domain.windows import FusionOutput, Window
from service.pipeline.provenance import find_smoothing_seconds
from service.settings import Settings
from service.telemetry.metrics import Metrics

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimationParameters:
    """Parameters that change the numbers, and the number of chunks in flight."""

    window_frames: int = 300
    hop_frames: int = 200
    smoothing_seconds: float = 0.2
    uncertainty: UncertaintyModel = UNCALIBRATED
    class_count: int = 0
    chunks_in_flight: int = 3

    @staticmethod
    def from_manifest(manifest: EstimatorManifest, settings: Settings) -> EstimationParameters:
        """Return the parameters of an estimator in this service."""
        # Only the mesh's score is what the calibration was fitted with.
        ignores_scores = settings.yunet_file is not None
        uncertainty = manifest.uncertainty
        return EstimationParameters(
            window_frames=settings.window_frames,
            hop_frames=settings.hop_frames,
            smoothing_seconds=find_smoothing_seconds(manifest, settings),
            uncertainty=uncertainty.ignore_scores() if ignores_scores else uncertainty,
            class_count=len(manifest.classes),
            chunks_in_flight=settings.chunks_in_flight,
        )


class Estimator:
    """Estimates one clip or stream; methods raise InferenceUnavailable or InferenceFailed."""

    def __init__(
        self,
        *,
        inference: Inference,
        parameters: EstimationParameters,
        metrics: Metrics,
        model: EstimatorId,
    ) -> None:
        self._inference = inference
        self._metrics = metrics
        self._model = str(model)
        self.tracks = TrackManager(
            window_frames=parameters.window_frames,
            hop_frames=parameters.hop_frames,
            smoothing_seconds=parameters.smoothing_seconds,
            uncertainty=parameters.uncertainty,
            class_count=parameters.class_count,
        )

    async def embed_faces(self, crops: UInt8Array, *, batch_size: int) -> Float32Array:
        """Embed (N, 3, 112, 112) crops to (N, 512), in batches that the models are warm for."""
        started = time.perf_counter()
        parts = [
            await self._inference.embed_faces(crops[first : first + batch_size])
            for first in range(0, max(len(crops), 1), batch_size)
        ]
        self._observe("embed_faces", started)
        return np.concatenate(parts)

    async def embed_voice(self, waveform: Float32Array, patch_starts: Int64Array) -> Float32Array:
        """Embed (S,) samples at 16 kHz to (T, 128), by patch starts (T,) in 10 ms hops."""
        started = time.perf_counter()
        voice = await self._inference.embed_voice(waveform, patch_starts)
        self._observe("embed_voice", started)
        return voice

    async def add(
        self, frames: Sequence[Frame], faces: Float32Array, voice: Float32Array
    ) -> AsyncGenerator[TimelinePoint | TrackDropped]:
        """Add the next T frames, their (N, 512) faces and their (T, 128) voice.

        The number of frames added at a time affects when tracks become inactive: jobs and streams
        add `chunk_frames`.

        Yields: points that are final, in frame order within their track; TrackDropped.
        """
        async for event in self._run_fusion(self.tracks.add(frames, faces, voice)):
            yield event
        found = sum(bool(frame.faces) for frame in frames)
        for face, count in (("found", found), ("missing", len(frames) - found)):
            self._metrics.frames_total.labels(face=face, model=self._model).inc(count)

    async def close(self) -> AsyncGenerator[TimelinePoint | TrackDropped]:
        """Yield the remaining points, after the last frame."""
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
            zeros = np.zeros((window.frames, len(TARGETS)), np.float32)
            return FusionOutput(mean=zeros, spread=zeros)
        mean, spread = await self._timed_fusion(
            self._inference.fuse(features.visual, features.audio, features.mask)
        )
        return FusionOutput(mean=mean[: window.frames], spread=spread[: window.frames])

    async def _timed_fusion(self, work: Awaitable[T]) -> T:
        started = time.perf_counter()
        result = await work
        self._observe("fuse", started)
        return result

    def _observe(self, stage: str, started: float) -> None:
        seconds = time.perf_counter() - started
        self._metrics.stage_duration_seconds.labels(stage=stage).observe(seconds)
