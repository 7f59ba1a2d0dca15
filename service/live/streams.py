"""The streams of this gateway: one call, one stream, whatever the door."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Generator,
    Iterator,
    Mapping,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final

from circumplex.v1 import annotation_pb2 as wire

from service.domain.caller import Caller
from service.domain.ports import Inference, LiveExtractor
from service.errors import GatewayDraining, InferenceUnavailable, StreamIdle, StreamOutOfOrder
from service.live.admission import Admission
from service.live.archive import Archive, Hold
from service.live.checkpoint import recipe_of, terms_of
from service.live.config import LiveConfig, read_config
from service.live.keeper import Keeper
from service.live.latency import Latency
from service.live.outbox import Reply
from service.live.pace import Pace
from service.live.replies import show_position
from service.live.session import Session
from service.live.start import Finish, Start, find_start
from service.live.together import Together
from service.live.token import new_stream_id, read_token
from service.settings import Settings
from service.telemetry.metrics import Metrics

FIRST_MESSAGE_SECONDS: Final = 10.0
"""What a call may take over its config."""
GIVE_WAY_SECONDS: Final = 1.0
"""A stream that is taken over on the same gateway leaves within this time."""

log = logging.getLogger(__name__)


class Streams:
    """Annotates streams. Every door calls `annotate`."""

    def __init__(
        self,
        *,
        settings: Settings,
        extractor: LiveExtractor,
        inference: Inference,
        weights: Callable[[], Mapping[str, str]],
        archive: Archive,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._extractor = extractor
        self._inference = Together(inference)
        self._pace = Pace()
        self._weights = weights
        self._archive = archive
        self._metrics = metrics
        self._admission = Admission(settings, metrics)
        self._sessions: set[Session] = set()
        self._here: dict[Hold, asyncio.Event] = {}
        """Who holds streams here; set when they have left."""
        self._is_draining = False

    async def annotate(
        self, requests: AsyncIterator[wire.StreamingAnnotateRequest], caller: Caller
    ) -> AsyncGenerator[wire.StreamingAnnotateResponse]:
        """Annotate one stream; requests that end are media that end.

        A caller who leaves closes the generator: everything is freed at once, and the stream can
        be resumed.

        Raises: RequestError, ClipError or ServiceError for the stream; GatewayDraining.
        """
        if self._is_draining:
            raise GatewayDraining()
        config = await self._read_first(requests)
        start = await self._claim(config, caller)
        if isinstance(start, Finish):
            for response in self._retell(start):
                yield response
            return
        with self._noted(start.hold), self._admission.stream(), self._inference.stream():
            if not await self._inference.is_ready():
                raise InferenceUnavailable("The models are away or not warm")
            if start.checkpoint is None:
                await self._archive.begin(start.hold)
            async with self._open(start, config, requests) as session:
                log.info(
                    "stream of %s: %s from frame %d",
                    *(caller.owner, type(config.media).__name__, start.next_index),
                )
                yield self._acknowledge(start)
                for response in start.untold:
                    yield response
                latency = Latency(self._metrics)
                try:
                    while (reply := await session.outbox.take()) is not None:
                        yield reply.response
                        self._measure(reply, latency)
                    summary = session.summary()
                    if (times := latency.summary()) is not None:
                        summary.latency.CopyFrom(times)
                    yield wire.StreamingAnnotateResponse(summary=summary)
                finally:
                    latency.publish()

    def drain(self) -> None:
        """Let no more streams in, and tell those under way to go elsewhere."""
        self._is_draining = True
        for session in self._sessions:
            session.drain()

    async def _read_first(
        self, requests: AsyncIterator[wire.StreamingAnnotateRequest]
    ) -> LiveConfig:
        try:
            async with asyncio.timeout(FIRST_MESSAGE_SECONDS):
                first = await anext(requests, None)
        except TimeoutError as error:
            raise StreamIdle("The config did not come in time") from error
        if first is None or first.WhichOneof("message") != "config":
            raise StreamOutOfOrder("the first message is the config")
        return read_config(first.config, self._settings)

    async def _claim(self, config: LiveConfig, caller: Caller) -> Start | Finish:
        """A new stream, or the one that the config's token names.

        Raises: ResumeTokenInvalid, StreamGone, StreamsFull, QueueUnavailable.
        """
        token = read_token(config.resume_token) if config.resume_token else None
        hold = Hold(
            stream_id=new_stream_id() if token is None else token.stream_id,
            owner=caller.owner,
            terms=terms_of(config),
            recipe=recipe_of(self._settings, self._weights()),
        )
        if token is None:
            return Start(hold=hold)
        kept = await self._archive.claim(hold)
        await self._make_way(token.stream_id)
        return find_start(hold, kept, token)

    async def _make_way(self, stream_id: str) -> None:
        """Let the session here that has had the stream end, and wait until it has left."""
        for session in self._sessions:
            if session.start.hold.stream_id == stream_id:
                session.give_way()
        leaving = [left for hold, left in self._here.items() if hold.stream_id == stream_id]
        with suppress(TimeoutError):
            async with asyncio.timeout(GIVE_WAY_SECONDS):
                for left in leaving:
                    await left.wait()

    @contextmanager
    def _noted(self, hold: Hold) -> Generator[None]:
        """A stream is here for as long as the context lasts."""
        left = self._here[hold] = asyncio.Event()
        try:
            yield
        finally:
            del self._here[hold]
            left.set()

    @asynccontextmanager
    async def _open(
        self,
        start: Start,
        config: LiveConfig,
        requests: AsyncIterator[wire.StreamingAnnotateRequest],
    ) -> AsyncGenerator[Session]:
        snapshot = None if start.checkpoint is None else start.checkpoint.snapshot
        state = None if snapshot is None else snapshot.state
        keeper = Keeper(
            self._archive,
            start.hold,
            entries=start.entries,
            is_resumed=start.checkpoint is not None,
        )
        async with self._extractor(config.media, state) as extraction:
            session = Session(
                start,
                config,
                extraction=extraction,
                inference=self._inference,
                keeper=keeper,
                pace=self._pace,
                settings=self._settings,
                metrics=self._metrics,
            )
            working = asyncio.create_task(session.run(requests), name="stream")
            self._sessions.add(session)
            if self._is_draining:
                session.drain()
            try:
                yield session
            finally:
                self._sessions.discard(session)
                working.cancel()
                with suppress(asyncio.CancelledError):
                    await working
                await session.leave()

    def _retell(self, finish: Finish) -> Iterator[wire.StreamingAnnotateResponse]:
        """All that a client may have missed of a stream that has come to its end."""
        yield self._acknowledge(finish)
        yield from finish.untold
        summary = wire.StreamSummary.FromString(finish.ending.summary)
        yield wire.StreamingAnnotateResponse(summary=summary)

    def _acknowledge(self, start: Start | Finish) -> wire.StreamingAnnotateResponse:
        settings = self._settings
        limits = wire.Limits(
            message_bytes=settings.max_stream_message_bytes,
            frame_pixels=settings.max_frame_pixels,
            stream_seconds=settings.max_clip_seconds,
            buffered_results=settings.stream_unread_results,
            waiting_frames=settings.stream_queue_frames,
            resume_seconds=settings.stream_resume_seconds,
        )
        ack = wire.ConfigAck(
            stream_id=start.hold.stream_id,
            limits=limits,
            send_from=show_position(start.send_from),
            next_final_index=start.next_index,
            weights_sha256=self._weights(),
        )
        return wire.StreamingAnnotateResponse(config_ack=ack)

    def _measure(self, reply: Reply, latency: Latency) -> None:
        """The door has sent it."""
        if reply.arrived_at is None:
            return
        late_seconds = latency.observe(reply.response.frame_result, reply.arrived_at)
        if late_seconds is not None:
            self._admission.observe(late_seconds)
