"""The voice of a stream through its backbone, several frames at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from service.domain.stream import AudioExtracted
from service.pipeline.estimation import Estimator
from service.streaming.batching.batched_inference import concatenate_audio
from service.streaming.flow_control import BatchQueue
from service.streaming.stages.frame_results import FrameRow
from service.streaming.stages.provisional import ProvisionalEstimator

MIN_FRAMES: Final = 8
"""Frames whose voice goes to the backbone together: one costs as much as these."""
BATCH_WAIT_SECONDS: Final = 0.25
"""For no longer than this does the first of them wait for the others."""
MAX_PIECES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceEmbeddingStage:
    """Embeds what was heard."""

    estimation: Estimator
    provisional: ProvisionalEstimator | None
    rows_without_voice: deque[FrameRow]
    """The frames that have no voice yet, in order."""
    on_rows_changed: Callable[[], None]
    """Told whenever rows have got their voice."""
    audio_queue: BatchQueue[AudioExtracted] = field(default_factory=BatchQueue[AudioExtracted])

    async def embed(self) -> None:
        """Sound of frames in order, to features."""
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
        pieces = await self.audio_queue.take(MAX_PIECES)
        try:
            async with asyncio.timeout(BATCH_WAIT_SECONDS):
                while pieces and sum(len(each.patch_starts) for each in pieces) < MIN_FRAMES:
                    more = await self.audio_queue.take(MAX_PIECES)
                    if not more:
                        break
                    pieces += more
        except TimeoutError:
            pass
        return pieces
