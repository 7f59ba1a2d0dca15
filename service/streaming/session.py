"""Session of one stream, from its requests to its events.

    requests ─▶ input ─▶ decode process ─┬▶ faces ─▶ provisional results ─▶ response queue
                                         └▶ audio ┐        ▲ (voice so far)
                     frames with face and voice ──┴▶ estimation ─▶ final results ─▶ response queue

Every step processes all items queued since its last run, so a stream that is late is processed in
larger batches. The number of frames without a first result is bounded: at the bound nothing more is
sent to the decode process, and the overload policy applies to the input queue.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from service.domain.clip import ClipClosed, Frame
from service.domain.media import Anomalies, Flag
from service.domain.ports import StreamExtraction
from service.domain.stream import (
    AudioExtracted,
    FramesExtracted,
    FrameUnreadable,
    Snapshot,
    StreamFrame,
)
from service.errors import CircumplexError, GatewayDraining, InternalError, StreamSuperseded
from service.pipeline.estimators import ServedEstimator
from service.settings import Settings
from service.streaming.config import StreamRequest, StreamSessionConfig
from service.streaming.events import (
    DroppedFrames,
    DropReason,
    MediaReleased,
    StreamCompleted,
    StreamDraining,
    StreamResult,
)
from service.streaming.flow_control import FrameCredits, ResponseQueue, ResultPacer
from service.streaming.input import InputPump, InputQueue, MediaReader, QueuedInput
from service.streaming.request_reader import RequestReader
from service.streaming.resume.checkpointer import Checkpointer, CheckpointWriter
from service.streaming.resume.resume_point import ResumePoint
from service.streaming.stages.final import FrameArrival, FrameRow
from service.streaming.stages.stage_pipeline import StagePipeline
from service.telemetry.metrics import Metrics

FRAMES_IN_FLIGHT: Final = 8
"""Frames of a stream in decoding or at the models that have no provisional result yet."""
QUEUED_MESSAGES: Final = 4
"""Bound of the input queue in bytes, in messages of the largest size."""
LAST_CHECKPOINT_SECONDS: Final = 0.5
"""Timeout of the last checkpoint of a session that ends before its stream."""

log = logging.getLogger(__name__)


class Session:
    """The processing of one stream; its events are taken from `response_queue`."""

    def __init__(
        self,
        resume_point: ResumePoint,
        config: StreamSessionConfig,
        *,
        extraction: StreamExtraction,
        estimator: ServedEstimator,
        checkpoint_writer: CheckpointWriter,
        pacer: ResultPacer,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self.resume_point = resume_point
        self.estimator = estimator
        self.response_queue = ResponseQueue(settings.stream_unread_results)
        self._settings = settings
        self._manifest = estimator.manifest
        self._metrics = metrics
        self._extraction = extraction
        self._credits = FrameCredits(FRAMES_IN_FLIGHT)
        self._frames_in_decoder: deque[tuple[int, float]] = deque()
        self._clip_closed: ClipClosed | None = None
        self._stop_reason: CircumplexError | None = None
        self._is_stopped = asyncio.Event()
        self._has_frames = resume_point.finalized_frames > 0 or resume_point.received.frames > 0
        self._duplicate_audio_frames = resume_point.duplicate_audio_frames
        self._frames_with_audio = resume_point.frames_with_audio
        reader = MediaReader(
            config.media, settings, resume_point.send_from, resume_point.time_range
        )
        self._checkpointer = Checkpointer(
            media=config.media,
            checkpoint_writer=checkpoint_writer,
            reader=reader,
            checkpoint=resume_point.checkpoint,
        )
        self._stages = StagePipeline(
            config,
            estimator=estimator,
            settings=settings,
            metrics=metrics,
            frame_credits=self._credits,
            response_queue=self.response_queue,
            pacer=pacer,
            save_results=self._save_results,
            make_resume_token=checkpoint_writer.make_resume_token,
        )
        self._final_stage = self._stages.final_stage
        resume_point.restore(self._final_stage, config.faces)
        self._input_pump = self._create_input_pump(config, reader, settings)

    def _create_input_pump(
        self, config: StreamSessionConfig, reader: MediaReader, settings: Settings
    ) -> InputPump:
        return InputPump(
            media_reader=reader,
            input_queue=InputQueue(
                overload_policy=config.overload_policy,
                max_frames=settings.stream_queue_frames,
                max_bytes=QUEUED_MESSAGES * settings.max_stream_message_bytes,
                on_drop=self._report_overload,
                known_position=self.resume_point.received,
            ),
            extraction=self._extraction,
            credits=self._credits,
            dropped_indices=frozenset(self._checkpointer.dropped_indices),
            frames_in_decoder=self._frames_in_decoder,
        )

    async def run(self, requests: AsyncIterator[StreamRequest]) -> None:
        """Process all requests; the response queue is closed at the end, or with the error."""
        reader = RequestReader(requests, self._settings, lambda: self._has_frames)
        try:
            async with asyncio.TaskGroup() as steps:
                receiving = steps.create_task(self._input_pump.receive(reader))
                feeding = steps.create_task(self._input_pump.feed_decoder())
                steps.create_task(self._dispatch_extracts((receiving, feeding)))
                processing = steps.create_task(self._stages.run())
                renewing = steps.create_task(self._renew_until_stopped())
                processing.add_done_callback(lambda _: renewing.cancel())
        except* CircumplexError as group:
            self.response_queue.close(_first_exception(group))
        except* Exception as group:
            log.error("stream: internal error", exc_info=_first_exception(group))
            self.response_queue.close(InternalError())
        else:
            self.response_queue.close()

    async def close(self) -> None:
        """Write a last checkpoint where the session was stopped before the end of its stream."""
        try:
            async with asyncio.timeout(LAST_CHECKPOINT_SECONDS):
                await self._checkpointer.save_remaining(self._final_stage)
        except (TimeoutError, StreamSuperseded):
            log.info("stream: no last checkpoint; the media since the one before are sent again")

    def drain(self) -> None:
        """End the session, to be resumed at another gateway."""
        token = self._checkpointer.checkpoint_writer.make_resume_token(
            self._final_stage.last_delivered_index
        )
        self.response_queue.put_nowait(StreamDraining(resume_token=token))
        self._stop(GatewayDraining(retry_seconds=0.1))

    def supersede(self) -> None:
        """End the session: another one has resumed the stream."""
        self._stop(StreamSuperseded())

    def abort(self, error: CircumplexError) -> None:
        """End the session with an error; what was queued before it is sent."""
        self._stop(error)

    def build_summary(self) -> StreamCompleted:
        """Return the summary, without latencies; complete once all results are final."""
        tracks = self._final_stage.estimation.tracks
        flags = {*self._manifest.flags, *(self._clip_closed.flags if self._clip_closed else ())}
        anomalies = self._clip_closed.anomalies if self._clip_closed else Anomalies()
        if tracks.primary_track is None:
            flags.add(Flag.NO_FACE)
        if tracks.is_crowded:
            flags.add(Flag.CROWDED)
        return StreamCompleted(
            frames=self._final_stage.finalized_frames,
            frames_dropped=self._checkpointer.dropped_frames,
            primary_track=tracks.primary_track,
            dropped_tracks=tuple(self._final_stage.dropped_tracks),
            flags=tuple(sorted(flags)),
            modalities_used=self._manifest.find_used_modalities(flags, anomalies),
        )

    def _stop(self, reason: CircumplexError) -> None:
        self.response_queue.close(reason)
        self._stop_reason = reason
        self._is_stopped.set()

    async def _renew_until_stopped(self) -> None:
        """Renew the claim on the stream; raises the reason for stopping, as StreamSuperseded."""
        writer = self._checkpointer.checkpoint_writer
        while self._stop_reason is None:
            await writer.renew(self._input_pump.media_reader.position)
            with suppress(TimeoutError):
                async with asyncio.timeout(writer.renew_seconds):
                    await self._is_stopped.wait()
        raise self._stop_reason

    async def _dispatch_extracts(self, input_tasks: tuple[asyncio.Task[None], ...]) -> None:
        """Handle the events of the decode process; input is cancelled when they end."""
        async for event in self._extraction.events():
            match event:
                case FramesExtracted():
                    self._handle_frames(event)
                case AudioExtracted():
                    self._handle_audio(event)
                case Snapshot():
                    self._checkpointer.add_snapshot(
                        event, self._frames_with_audio, self._final_stage.finalized_frames
                    )
                case FrameUnreadable():
                    index, seconds = self._frames_in_decoder.popleft()
                    self._credits.release()
                    self._report_dropped_frame(index, seconds, DropReason.UNREADABLE)
                case ClipClosed():
                    self._clip_closed = event
                case _:
                    pass
        self._stages.close_input()
        for task in input_tasks:
            task.cancel()

    def _handle_frames(self, extracted: FramesExtracted) -> None:
        self._observe_stage_seconds(extracted.stage_seconds)
        self._has_frames = True
        first = 0
        for frame, arrived_at in zip(extracted.frames, extracted.arrived_at, strict=True):
            last = first + len(frame.faces)
            if frame.index < self.resume_point.finalized_frames:
                first = last
                continue
            arrival = FrameArrival(
                frame=frame, index=self._take_stream_index(frame), arrived_at=arrived_at
            )
            row = FrameRow(arrival=arrival, crops=extracted.crops[first:last])
            first = last
            self._stages.add_row(row)

    def _handle_audio(self, extracted: AudioExtracted) -> None:
        self._observe_stage_seconds(extracted.stage_seconds)
        frames = len(extracted.patch_starts)
        duplicate = min(self._duplicate_audio_frames, frames)
        self._duplicate_audio_frames -= duplicate
        self._frames_with_audio += frames
        if duplicate < frames:
            new_starts = extracted.patch_starts[duplicate:]
            self._stages.add_audio(replace(extracted, patch_starts=new_starts))

    async def _save_results(
        self, results: Sequence[StreamResult], is_last: bool
    ) -> MediaReleased | None:
        if not is_last:
            return await self._checkpointer.save(self._final_stage, results)
        last_index = self._final_stage.last_final_index
        await self._checkpointer.save_final(results, self.build_summary(), last_index)
        return None

    def _take_stream_index(self, frame: Frame) -> int:
        """Return a frame's place in the stream as it was sent."""
        if self._frames_in_decoder:
            return self._frames_in_decoder.popleft()[0]
        self._credits.acquire()  # frames of a container are known only when decoded
        return frame.index

    def _report_overload(self, queued: QueuedInput) -> None:
        if isinstance(queued.media_input, StreamFrame):
            seconds = queued.media_input.time_seconds
            self._report_dropped_frame(queued.index, seconds, DropReason.OVERLOAD)

    def _report_dropped_frame(self, index: int, seconds: float, reason: DropReason) -> None:
        self._metrics.stream_dropped_frames_total.labels(reason=reason).inc()
        dropped = DroppedFrames(first_index=index, count=1, reason=reason, time_seconds=seconds)
        self._checkpointer.record_dropped_frame(dropped)
        self.response_queue.put_dropped_nowait(dropped)

    def _observe_stage_seconds(self, stage_seconds: dict[str, float]) -> None:
        for stage, seconds in stage_seconds.items():
            self._metrics.stage_duration_seconds.labels(stage=stage).observe(seconds)


def _first_exception(group: BaseExceptionGroup[Exception]) -> Exception:
    """Return the first error of a group that is no group itself."""
    first = group.exceptions[0]
    return _first_exception(first) if isinstance(first, BaseExceptionGroup) else first
