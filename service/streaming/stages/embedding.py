"""Embedding stages of a stream: faces and voice through their backbones, in batches.

FrameRow ─▶ faces ─▶ provisional result      AudioExtracted ─▶ voice ─▶ FrameRow.voice
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from service.domain.class_probabilities import read_class_probabilities
from service.domain.clip import Estimate
from service.domain.stream import AudioExtracted
from service.pipeline.estimation import Estimator
from service.streaming.batching import concatenate_audio
from service.streaming.events import StreamResult, TrackEstimate
from service.streaming.flow_control import BatchQueue, FrameCredits, ResponseQueue
from service.streaming.stages.final import FrameRow
from service.streaming.stages.provisional import ProvisionalEstimator

MAX_FRAMES_AT_ONCE: Final = 16
"""Frames of one stream that go through the face backbone in one batch."""
MIN_VOICE_FRAMES: Final = 8
"""Minimum frames of one batch to the voice backbone: a single frame costs as much."""
VOICE_BATCH_WAIT_SECONDS: Final = 0.25
"""Longest wait of the first of them for the others."""
MAX_AUDIO_PIECES: Final = 32
"""AudioExtracted messages taken from the queue at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceEmbeddingStage:
    """Two concurrent steps: embedding faces, and provisional results of embedded frames."""

    estimation: Estimator
    provisional: ProvisionalEstimator | None
    """Estimator of provisional results; None: the client requested final results only."""
    max_crops: int
    """Crops of one call to the model."""
    credits: FrameCredits
    response_queue: ResponseQueue
    on_rows_changed: Callable[[], None]
    """Called when rows have received their face features."""
    input_rows: BatchQueue[FrameRow] = field(default_factory=BatchQueue[FrameRow])
    embedded_rows: BatchQueue[FrameRow] = field(default_factory=BatchQueue[FrameRow])

    async def embed(self) -> None:
        """Embed the faces of all input rows."""
        while rows := await self.input_rows.take(MAX_FRAMES_AT_ONCE):
            crops = np.concatenate([row.crops for row in rows])
            faces = await self.estimation.embed_faces(crops, batch_size=self.max_crops)
            for row in rows:
                row.faces, faces = faces[: len(row.crops)], faces[len(row.crops) :]
                if self.provisional is not None:
                    self.embedded_rows.put(row)
            self.on_rows_changed()
            if self.provisional is None:
                # Unread final results stop the sender, like provisional ones.
                await self.response_queue.wait_for_capacity()
                self.credits.release(len(rows))
        self.embedded_rows.close()

    async def emit_provisional_results(self) -> None:
        """Send a provisional result for each embedded row."""
        if self.provisional is None:
            return
        while rows := await self.embedded_rows.take(MAX_FRAMES_AT_ONCE):
            for row in rows:
                if row.faces is not None:
                    self.provisional.add_frame(row.arrival.frame, row.faces)
            estimates = await self.provisional.estimate()
            class_count = self.estimation.tracks.class_count
            for row, (_, tracks) in zip(rows, estimates, strict=True):
                result = _make_provisional_result(row, tracks, class_count)
                await self.response_queue.put(result, row.arrival.arrived_at)
            self.credits.release(len(rows))


def _make_provisional_result(
    row: FrameRow, tracks: dict[int, Estimate | None], class_count: int
) -> StreamResult:
    frame, faces = row.arrival.frame, row.faces
    probabilities = [] if faces is None else read_class_probabilities(faces, class_count)
    by_track = {face.track: each for face, each in zip(frame.faces, probabilities, strict=False)}
    results = (
        TrackEstimate(
            track=track,
            box=frame.find_face(track),
            estimate=estimate,
            class_probabilities=by_track.get(track, ()),
        )
        for track, estimate in tracks.items()
    )
    return StreamResult(
        index=row.arrival.index,
        time_seconds=frame.time_seconds,
        is_final=False,
        tracks=tuple(results),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceEmbeddingStage:
    """Embeds the audio of frames, several frames at a time."""

    estimation: Estimator
    provisional: ProvisionalEstimator | None
    rows_without_voice: deque[FrameRow]
    """Frames that have no voice features yet, in order."""
    on_rows_changed: Callable[[], None]
    """Called when rows have received their voice features."""
    audio_queue: BatchQueue[AudioExtracted] = field(default_factory=BatchQueue[AudioExtracted])

    async def embed(self) -> None:
        """Embed all queued audio, in frame order."""
        while pieces := await self._collect_batch():
            voice = await self.estimation.embed_voice(
                *concatenate_audio([(each.waveform, each.patch_starts) for each in pieces])
            )
            if self.provisional is not None:
                self.provisional.add_voice(self.rows_without_voice[0].arrival.frame.index, voice)
            for features in voice:
                self.rows_without_voice.popleft().voice = features
            self.on_rows_changed()

    async def _collect_batch(self) -> list[AudioExtracted]:
        pieces = await self.audio_queue.take(MAX_AUDIO_PIECES)
        try:
            async with asyncio.timeout(VOICE_BATCH_WAIT_SECONDS):
                while pieces and sum(len(each.patch_starts) for each in pieces) < MIN_VOICE_FRAMES:
                    more = await self.audio_queue.take(MAX_AUDIO_PIECES)
                    if not more:
                        break
                    pieces += more
        except TimeoutError:
            pass
        return pieces
