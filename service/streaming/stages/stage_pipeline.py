"""Stages of one stream, connected: embedding, provisional and final results.

FrameRow ────────▶ faces ─▶ provisional results ─▶ response queue
│            ▲
AudioExtracted ─▶ voice ──────────┤
└▶ final results ─▶ checkpoint ─▶ response queue
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from service.domain.stream import AudioExtracted
from service.pipeline.estimation import Estimator
from service.pipeline.estimators import ServedEstimator
from service.settings import Settings
from service.streaming.config import StreamSessionConfig
from service.streaming.flow_control import FrameCredits, ResponseQueue, ResultPacer
from service.streaming.stages.embedding import (
    MAX_FRAMES_AT_ONCE,
    FaceEmbeddingStage,
    VoiceEmbeddingStage,
)
from service.streaming.stages.final import FinalStage, FrameResultAssembler, FrameRow, SaveResults
from service.streaming.stages.provisional import ProvisionalEstimator
from service.telemetry.metrics import Metrics


class StagePipeline:
    """Stages of one stream, connected; rows and audio are added in frame order."""

    def __init__(
        self,
        config: StreamSessionConfig,
        *,
        estimator: ServedEstimator,
        settings: Settings,
        metrics: Metrics,
        frame_credits: FrameCredits,
        response_queue: ResponseQueue,
        pacer: ResultPacer,
        save_results: SaveResults,
        make_resume_token: Callable[[int], str],
    ) -> None:
        inference, parameters = estimator.inference, estimator.parameters
        estimation = Estimator(
            inference=inference, parameters=parameters, metrics=metrics, model=estimator.id
        )
        provisional = None
        if not config.final_results_only:
            provisional = ProvisionalEstimator(
                inference=inference,
                faces=config.faces,
                smoothing_seconds=parameters.smoothing_seconds,
                uncertainty=parameters.uncertainty,
            )
        self.final_stage = FinalStage(
            estimation=estimation,
            result_assembler=FrameResultAssembler(config.faces),
            response_queue=response_queue,
            save_results=save_results,
            pacer=pacer,
            make_resume_token=make_resume_token,
            block_frames=settings.chunk_frames,
        )
        self._rows_without_voice: deque[FrameRow] = deque()
        self._face_stage = FaceEmbeddingStage(
            estimation=estimation,
            provisional=provisional,
            max_crops=min(MAX_FRAMES_AT_ONCE, settings.chunk_frames),
            credits=frame_credits,
            response_queue=response_queue,
            on_rows_changed=self.final_stage.notify_rows_changed,
        )
        self._voice_stage = VoiceEmbeddingStage(
            estimation=estimation,
            provisional=provisional,
            rows_without_voice=self._rows_without_voice,
            on_rows_changed=self.final_stage.notify_rows_changed,
        )

    def add_row(self, row: FrameRow) -> None:
        """Add the next frame."""
        self.final_stage.rows.append(row)
        self._rows_without_voice.append(row)
        self._face_stage.input_rows.put(row)

    def add_audio(self, extracted: AudioExtracted) -> None:
        """Add the audio of the next frames without audio."""
        self._voice_stage.audio_queue.put(extracted)

    def close_input(self) -> None:
        """Mark the end of rows and audio."""
        self._face_stage.input_rows.close()
        self._voice_stage.audio_queue.close()

    async def run(self) -> None:
        """Run all stages to their end; the final one ends after the others."""
        async with asyncio.TaskGroup() as final:
            final.create_task(self.final_stage.run())
            async with asyncio.TaskGroup() as steps:
                steps.create_task(self._face_stage.embed())
                steps.create_task(self._face_stage.emit_provisional_results())
                steps.create_task(self._voice_stage.embed())
            self.final_stage.close()
