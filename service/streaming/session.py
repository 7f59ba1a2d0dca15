"""One stream, from its media to its results.

    requests ─▶ intake ─▶ decode child ─┬▶ faces ─▶ provisional ─▶ outbox
                                        └▶ voice ┐        ▲ (what was heard)
                    frames with face and voice ──┴▶ estimation ─▶ finals ─▶ outbox

Every step takes what has gathered since it last looked, so a stream that is behind is dealt with
in larger portions. Frames that have not been answered are limited: beyond, nothing more goes to
the child, and the intake's policy decides.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from circumplex.v1 import annotation_pb2 as wire

from service.domain.clip import ClipClosed, Frame
from service.domain.media import Flag
from service.domain.ports import Inference, StreamExtraction
from service.domain.stream import (
    AudioExtracted,
    FramesExtracted,
    FrameUnreadable,
    Snapshot,
    StreamFrame,
)
from service.errors import CircumplexError, GatewayDraining, InternalError, StreamSuperseded
from service.pipeline.estimation import EstimationParameters, Estimator
from service.settings import Settings
from service.streaming.config import StreamSessionConfig
from service.streaming.exception_groups import first_exception
from service.streaming.flow_control import FrameCredits, ResultPacer
from service.streaming.input.input_queue import InputQueue, QueuedInput
from service.streaming.input.media_reader import MediaReader
from service.streaming.input.pump import InputPump
from service.streaming.response_queue import QueuedResponse, ResponseQueue
from service.streaming.resume.checkpointer import Checkpointer, CheckpointWriter
from service.streaming.resume.resume_point import ResumePoint
from service.streaming.stages.face_embedding import MAX_AT_ONCE, FaceEmbeddingStage
from service.streaming.stages.final import FinalStage
from service.streaming.stages.frame_results import FrameArrival, FrameResultAssembler, FrameRow
from service.streaming.stages.provisional import ProvisionalEstimator
from service.streaming.stages.voice_embedding import VoiceEmbeddingStage
from service.telemetry.metrics import Metrics

FRAMES_IN_FLIGHT: Final = 8
"""Frames of a stream in the child or at the models that have no provisional result yet."""
QUEUED_MESSAGES: Final = 4
"""Bytes that wait: so many messages of the largest size."""
LAST_CHECKPOINT_SECONDS: Final = 0.5
"""What a session that ends before its stream gives to its last checkpoint."""

log = logging.getLogger(__name__)


class Session:
    """The work on one stream; its results are in `outbox`."""

    def __init__(
        self,
        resume_point: ResumePoint,
        config: StreamSessionConfig,
        *,
        extraction: StreamExtraction,
        inference: Inference,
        checkpoint_writer: CheckpointWriter,
        pacer: ResultPacer,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self.resume_point = resume_point
        self.response_queue = ResponseQueue(settings.stream_unread_results)
        self._metrics = metrics
        self._extraction = extraction
        self._credits = FrameCredits(FRAMES_IN_FLIGHT)
        self._frames_in_decoder: deque[tuple[int, float]] = deque()
        self._rows_without_voice: deque[FrameRow] = deque()
        self._clip_closed: ClipClosed | None = None
        self._stop_reason: CircumplexError | None = None
        self._is_stopped = asyncio.Event()
        self._duplicate_audio_frames, self._frames_with_audio = (
            resume_point.duplicate_audio_frames,
            resume_point.frames_with_audio,
        )
        reader = MediaReader(
            config.media, settings, resume_point.send_from, resume_point.time_range
        )
        self._checkpointer = Checkpointer(
            media=config.media,
            checkpoint_writer=checkpoint_writer,
            reader=reader,
            checkpoint=resume_point.checkpoint,
        )
        estimation = Estimator(
            inference=inference,
            parameters=EstimationParameters.from_settings(settings),
            metrics=metrics,
        )
        provisional = ProvisionalEstimator(
            inference=inference,
            faces=config.faces,
            smoothing_seconds=settings.smoothing_seconds,
        )
        self._final_stage = FinalStage(
            estimation=estimation,
            result_assembler=FrameResultAssembler(config.faces),
            response_queue=self.response_queue,
            save_results=self._save_results,
            pacer=pacer,
            make_resume_token=checkpoint_writer.make_resume_token,
            block_frames=settings.chunk_frames,
            last_delivered_index=resume_point.last_final_index,
            last_final_index=resume_point.last_final_index,
        )
        if resume_point.checkpoint is not None:
            self._final_stage.resume_from(resume_point.checkpoint)
        told = None if config.final_results_only else provisional
        self._face_stage = FaceEmbeddingStage(
            estimation=estimation,
            provisional=told,
            max_crops=min(MAX_AT_ONCE, settings.chunk_frames),
            credits=self._credits,
            response_queue=self.response_queue,
            on_rows_changed=self._final_stage.notify_rows_changed,
        )
        self._voice_stage = VoiceEmbeddingStage(
            estimation=estimation,
            provisional=told,
            rows_without_voice=self._rows_without_voice,
            on_rows_changed=self._final_stage.notify_rows_changed,
        )
        self._input_pump = InputPump(
            media_reader=reader,
            input_queue=InputQueue(
                overload_policy=config.overload_policy,
                max_frames=settings.stream_queue_frames,
                max_bytes=QUEUED_MESSAGES * settings.max_stream_message_bytes,
                on_drop=self._report_overload,
                known_position=resume_point.received,
            ),
            extraction=extraction,
            credits=self._credits,
            idle_seconds=settings.stream_idle_seconds,
            dropped_indices=frozenset(self._checkpointer.dropped_indices),
            frames_in_decoder=self._frames_in_decoder,
        )

    async def run(self, requests: AsyncIterator[wire.StreamingAnnotateRequest]) -> None:
        """Work until the media have ended and everything is told; errors end the outbox."""
        try:
            async with asyncio.TaskGroup() as steps:
                pumping = steps.create_task(self._input_pump.receive(requests))
                feeding = steps.create_task(self._input_pump.feed_decoder())
                steps.create_task(self._dispatch_extracts((pumping, feeding)))
                telling = steps.create_task(self._run_stages())
                watching = steps.create_task(self._renew_until_stopped())
                telling.add_done_callback(lambda _: watching.cancel())
        except* CircumplexError as group:
            self.response_queue.close(first_exception(group))
        except* Exception as group:
            log.exception("stream: a defect", exc_info=first_exception(group))
            self.response_queue.close(InternalError())
        else:
            self.response_queue.close()

    async def close(self) -> None:
        """Work has stopped, maybe before its end: keep what the stream can go on from."""
        try:
            async with asyncio.timeout(LAST_CHECKPOINT_SECONDS):
                await self._checkpointer.save_remaining(self._final_stage)
        except (TimeoutError, StreamSuperseded):
            log.info("stream: what has come since the last checkpoint will be sent again")

    def drain(self) -> None:
        """End the stream, to be resumed elsewhere."""
        token = self._checkpointer.checkpoint_writer.make_resume_token(
            self._final_stage.last_delivered_index
        )
        draining = wire.Draining(resume_token=token)
        self.response_queue.put_nowait(
            QueuedResponse(response=wire.StreamingAnnotateResponse(draining=draining))
        )
        self._stop(GatewayDraining(retry_seconds=0.1))

    def supersede(self) -> None:
        """End the stream here: another call goes on with it."""
        self._stop(StreamSuperseded())

    def build_summary(self) -> wire.StreamSummary:
        """What is known at the end."""
        cast = self._final_stage.estimation.tracks
        flags = {*(self._clip_closed.flags if self._clip_closed else ())}
        if cast.primary_track is None:
            flags.add(Flag.NO_FACE)
        if cast.is_crowded:
            flags.add(Flag.CROWDED)
        return wire.StreamSummary(
            frames=self._final_stage.finalized_frames,
            frames_dropped=self._checkpointer.dropped_frames,
            primary_track=cast.primary_track or 0,
            dropped_tracks=self._final_stage.dropped_tracks,
            flags=sorted(flags),
        )

    def _stop(self, reason: CircumplexError) -> None:
        self.response_queue.close(reason)
        self._stop_reason = reason
        self._is_stopped.set()

    async def _renew_until_stopped(self) -> None:
        """Keep what is kept of the stream; raises why it must end, as StreamSuperseded."""
        keeper = self._checkpointer.checkpoint_writer
        while self._stop_reason is None:
            await keeper.renew(self._input_pump.media_reader.position)
            with suppress(TimeoutError):
                async with asyncio.timeout(keeper.renew_seconds):
                    await self._is_stopped.wait()
        raise self._stop_reason

    async def _dispatch_extracts(self, input_tasks: tuple[asyncio.Task[None], ...]) -> None:
        """Deal with what the child says; what is still coming in when it has ended is let go."""
        async for extract in self._extraction.events():
            match extract:
                case FramesExtracted():
                    self._handle_frames(extract)
                case AudioExtracted():
                    self._handle_audio(extract)
                case Snapshot():
                    self._checkpointer.add_snapshot(
                        extract, self._frames_with_audio, self._final_stage.finalized_frames
                    )
                case FrameUnreadable():
                    index, seconds = self._frames_in_decoder.popleft()
                    self._credits.release()
                    self._report_dropped_frame(index, seconds, wire.DROP_REASON_UNREADABLE)
                case ClipClosed():
                    self._clip_closed = extract
                case _:
                    pass
        self._face_stage.input_rows.close()
        self._voice_stage.audio_queue.close()
        for task in input_tasks:
            task.cancel()

    async def _run_stages(self) -> None:
        """From what was seen and heard to results; the conclusion comes when all the rest is."""
        async with asyncio.TaskGroup() as ends:
            ends.create_task(self._final_stage.run())
            async with asyncio.TaskGroup() as steps:
                steps.create_task(self._face_stage.embed())
                steps.create_task(self._face_stage.emit_provisional_results())
                steps.create_task(self._voice_stage.embed())
            self._final_stage.close()

    def _handle_frames(self, extracted: FramesExtracted) -> None:
        self._observe_stage_seconds(extracted.stage_seconds)
        first = 0
        for frame, arrived_at in zip(extracted.frames, extracted.arrived_at, strict=True):
            last = first + len(frame.faces)
            if frame.index < self.resume_point.finalized_frames:
                first = last
                continue
            sent = FrameArrival(
                frame=frame, index=self._take_stream_index(frame), arrived_at=arrived_at
            )
            row = FrameRow(arrival=sent, crops=extracted.crops[first:last])
            first = last
            self._final_stage.rows.append(row)
            self._rows_without_voice.append(row)
            self._face_stage.input_rows.put(row)

    def _handle_audio(self, extracted: AudioExtracted) -> None:
        self._observe_stage_seconds(extracted.stage_seconds)
        frames = len(extracted.patch_starts)
        unwanted = min(self._duplicate_audio_frames, frames)
        self._duplicate_audio_frames -= unwanted
        self._frames_with_audio += frames
        if unwanted < frames:
            wanted = extracted.patch_starts[unwanted:]
            self._voice_stage.audio_queue.put(replace(extracted, patch_starts=wanted))

    async def _save_results(
        self, results: Sequence[wire.FrameResult], is_last: bool
    ) -> wire.MediaReleased | None:
        if not is_last:
            return await self._checkpointer.save(self._final_stage, results)
        last_index = self._final_stage.last_final_index
        await self._checkpointer.save_final(results, self.build_summary(), last_index)
        return None

    def _take_stream_index(self, frame: Frame) -> int:
        """A frame's place in the stream as it was sent."""
        if self._frames_in_decoder:
            return self._frames_in_decoder.popleft()[0]
        self._credits.acquire()  # of a container: known only now
        return frame.index

    def _report_overload(self, queued: QueuedInput) -> None:
        if isinstance(queued.media_input, StreamFrame):
            seconds = queued.media_input.time_seconds
            self._report_dropped_frame(queued.index, seconds, wire.DROP_REASON_OVERLOAD)

    def _report_dropped_frame(self, index: int, seconds: float, reason: wire.DropReason) -> None:
        name = wire.DropReason.Name(reason).removeprefix("DROP_REASON_").lower()
        self._metrics.stream_dropped_frames_total.labels(reason=name).inc()
        dropped = wire.FramesDropped(
            first_index=index, count=1, reason=reason, time_seconds=seconds
        )
        self._checkpointer.record_dropped_frame(dropped)
        self.response_queue.put_dropped_nowait(dropped)

    def _observe_stage_seconds(self, stage_seconds: dict[str, float]) -> None:
        for stage, seconds in stage_seconds.items():
            self._metrics.stage_duration_seconds.labels(stage=stage).observe(seconds)
