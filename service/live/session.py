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
from service.domain.live import Heard, LiveFrame, Seen, Snapshot, Unreadable
from service.domain.media import Flag
from service.domain.ports import Inference, LiveExtraction
from service.errors import CircumplexError, GatewayDraining, InternalError, StreamSuperseded
from service.estimation import Estimation, Method
from service.live.conclusion import Conclusion
from service.live.config import LiveConfig
from service.live.continuity import Continuity
from service.live.credits import Credits
from service.live.failures import first_of
from service.live.feed import Feed
from service.live.finals import Finals, Sent
from service.live.hearing import Hearing
from service.live.intake import Intake, Waiting
from service.live.keeper import Keeper
from service.live.outbox import Outbox, Reply
from service.live.pace import Pace
from service.live.pieces import PieceReader
from service.live.provisional import Provisional
from service.live.rows import Row
from service.live.sight import MAX_AT_ONCE, Sight
from service.live.start import Start
from service.settings import Settings
from service.telemetry.metrics import Metrics

FRAMES_UNDER_WAY: Final = 8
"""Frames of a stream in the child or at the models that have no provisional result yet."""
WAITING_MESSAGES: Final = 4
"""Bytes that wait: so many messages of the largest size."""
LEAVE_SECONDS: Final = 0.5
"""What a session that ends before its stream gives to its last checkpoint."""

log = logging.getLogger(__name__)


class Session:
    """The work on one stream; its results are in `outbox`."""

    def __init__(
        self,
        start: Start,
        config: LiveConfig,
        *,
        extraction: LiveExtraction,
        inference: Inference,
        keeper: Keeper,
        pace: Pace,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self.start = start
        self.outbox = Outbox(settings.stream_unread_results)
        self._metrics = metrics
        self._extraction = extraction
        self._credits = Credits(FRAMES_UNDER_WAY)
        self._sent: deque[tuple[int, float]] = deque()
        self._unheard: deque[Row] = deque()
        self._ended: ClipClosed | None = None
        self._stop_reason: CircumplexError | None = None
        self._is_stopped = asyncio.Event()
        self._unwanted, self._heard = start.unwanted_frames, start.heard_frames
        reader = PieceReader(config.media, settings, start.send_from, start.clock)
        self._continuity = Continuity(
            media=config.media, keeper=keeper, reader=reader, start=start.checkpoint
        )
        estimation = Estimation(inference=inference, method=Method.of(settings), metrics=metrics)
        provisional = Provisional(
            inference=inference,
            faces=config.faces,
            smoothing_seconds=settings.smoothing_seconds,
        )
        self._conclusion = Conclusion(
            estimation=estimation,
            finals=Finals(config.faces),
            outbox=self.outbox,
            keep=self._keep,
            pace=pace,
            token_of=keeper.token_of,
            block_frames=settings.chunk_frames,
            told_index=start.last_index,
            last_index=start.last_index,
        )
        if start.checkpoint is not None:
            self._conclusion.go_on(start.checkpoint)
        told = None if config.final_results_only else provisional
        self._sight = Sight(
            estimation=estimation,
            provisional=told,
            max_crops=min(MAX_AT_ONCE, settings.chunk_frames),
            credits=self._credits,
            outbox=self.outbox,
            changed=self._conclusion.look,
        )
        self._hearing = Hearing(
            estimation=estimation,
            provisional=told,
            unheard=self._unheard,
            changed=self._conclusion.look,
        )
        self._feed = Feed(
            reader=reader,
            intake=Intake(
                overload=config.overload,
                max_frames=settings.stream_queue_frames,
                max_bytes=WAITING_MESSAGES * settings.max_stream_message_bytes,
                drop=self._drop,
                known=start.received,
            ),
            extraction=extraction,
            credits=self._credits,
            idle_seconds=settings.stream_idle_seconds,
            gone=frozenset(self._continuity.gone),
            sent=self._sent,
        )

    async def run(self, requests: AsyncIterator[wire.StreamingAnnotateRequest]) -> None:
        """Work until the media have ended and everything is told; errors end the outbox."""
        try:
            async with asyncio.TaskGroup() as steps:
                pumping = steps.create_task(self._feed.pump(requests))
                feeding = steps.create_task(self._feed.feed())
                steps.create_task(self._follow((pumping, feeding)))
                telling = steps.create_task(self._tell())
                watching = steps.create_task(self._watch())
                telling.add_done_callback(lambda _: watching.cancel())
        except* CircumplexError as group:
            self.outbox.close(first_of(group))
        except* Exception as group:
            log.exception("stream: a defect", exc_info=first_of(group))
            self.outbox.close(InternalError())
        else:
            self.outbox.close()

    async def leave(self) -> None:
        """Work has stopped, maybe before its end: keep what the stream can go on from."""
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._continuity.save_rest(self._conclusion)
        except (TimeoutError, StreamSuperseded):
            log.info("stream: what has come since the last checkpoint will be sent again")

    def drain(self) -> None:
        """End the stream, to be resumed elsewhere."""
        token = self._continuity.keeper.token_of(self._conclusion.told_index)
        draining = wire.Draining(resume_token=token)
        self.outbox.add(Reply(response=wire.StreamingAnnotateResponse(draining=draining)))
        self._stop(GatewayDraining(retry_seconds=0.1))

    def give_way(self) -> None:
        """End the stream here: another call goes on with it."""
        self._stop(StreamSuperseded())

    def summary(self) -> wire.StreamSummary:
        """What is known at the end."""
        cast = self._conclusion.estimation.cast
        flags = {*(self._ended.flags if self._ended else ())}
        if cast.primary is None:
            flags.add(Flag.NO_FACE)
        if cast.is_crowded:
            flags.add(Flag.CROWDED)
        return wire.StreamSummary(
            frames=self._conclusion.frames,
            frames_dropped=self._continuity.dropped,
            primary_track=cast.primary or 0,
            dropped_tracks=self._conclusion.dropped_tracks,
            flags=sorted(flags),
        )

    def _stop(self, reason: CircumplexError) -> None:
        self.outbox.close(reason)
        self._stop_reason = reason
        self._is_stopped.set()

    async def _watch(self) -> None:
        """Keep what is kept of the stream; raises why it must end, as StreamSuperseded."""
        keeper = self._continuity.keeper
        while self._stop_reason is None:
            await keeper.look(self._feed.reader.position)
            with suppress(TimeoutError):
                async with asyncio.timeout(keeper.look_seconds):
                    await self._is_stopped.wait()
        raise self._stop_reason

    async def _follow(self, inward: tuple[asyncio.Task[None], ...]) -> None:
        """Deal with what the child says; what is still coming in when it has ended is let go."""
        async for extract in self._extraction.extracts():
            match extract:
                case Seen():
                    self._see(extract)
                case Heard():
                    self._hear(extract)
                case Snapshot():
                    self._continuity.remember(extract, self._heard, self._conclusion.frames)
                case Unreadable():
                    index, seconds = self._sent.popleft()
                    self._credits.give()
                    self._report(index, seconds, wire.DROP_REASON_UNREADABLE)
                case ClipClosed():
                    self._ended = extract
                case _:
                    pass
        self._sight.looked.close()
        self._hearing.heard.close()
        for task in inward:
            task.cancel()

    async def _tell(self) -> None:
        """From what was seen and heard to results; the conclusion comes when all the rest is."""
        async with asyncio.TaskGroup() as ends:
            ends.create_task(self._conclusion.conclude())
            async with asyncio.TaskGroup() as steps:
                steps.create_task(self._sight.embed())
                steps.create_task(self._sight.tell())
                steps.create_task(self._hearing.embed())
            self._conclusion.close()

    def _see(self, seen: Seen) -> None:
        self._observe(seen.stage_seconds)
        first = 0
        for frame, arrived_at in zip(seen.frames, seen.arrived_at, strict=True):
            last = first + len(frame.faces)
            if frame.index < self.start.known_frames:
                first = last
                continue
            sent = Sent(frame=frame, index=self._place(frame), arrived_at=arrived_at)
            row = Row(sent=sent, crops=seen.crops[first:last])
            first = last
            self._conclusion.rows.append(row)
            self._unheard.append(row)
            self._sight.looked.put(row)

    def _hear(self, heard: Heard) -> None:
        self._observe(heard.stage_seconds)
        frames = len(heard.patch_starts)
        unwanted = min(self._unwanted, frames)
        self._unwanted -= unwanted
        self._heard += frames
        if unwanted < frames:
            wanted = heard.patch_starts[unwanted:]
            self._hearing.heard.put(replace(heard, patch_starts=wanted))

    async def _keep(
        self, results: Sequence[wire.FrameResult], is_last: bool
    ) -> wire.MediaReleased | None:
        if not is_last:
            return await self._continuity.save(self._conclusion, results)
        last_index = self._conclusion.last_index
        await self._continuity.end(results, self.summary(), last_index)
        return None

    def _place(self, frame: Frame) -> int:
        """A frame's place in the stream as it was sent."""
        if self._sent:
            return self._sent.popleft()[0]
        self._credits.take()  # of a container: known only now
        return frame.index

    def _drop(self, waiting: Waiting) -> None:
        if isinstance(waiting.piece, LiveFrame):
            seconds = waiting.piece.time_seconds
            self._report(waiting.index, seconds, wire.DROP_REASON_OVERLOAD)

    def _report(self, index: int, seconds: float, reason: wire.DropReason) -> None:
        name = wire.DropReason.Name(reason).removeprefix("DROP_REASON_").lower()
        self._metrics.stream_dropped_frames_total.labels(reason=name).inc()
        dropped = wire.FramesDropped(
            first_index=index, count=1, reason=reason, time_seconds=seconds
        )
        self._continuity.drop(dropped)
        self.outbox.report(dropped)

    def _observe(self, stage_seconds: dict[str, float]) -> None:
        for stage, seconds in stage_seconds.items():
            self._metrics.stage_duration_seconds.labels(stage=stage).observe(seconds)
