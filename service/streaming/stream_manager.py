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
from service.domain.ports import Inference, StreamExtractor
from service.errors import GatewayDraining, InferenceUnavailable, StreamIdle, StreamOutOfOrder
from service.settings import Settings
from service.streaming.admission import AdmissionControl
from service.streaming.batching.batched_inference import BatchedInference
from service.streaming.config import StreamSessionConfig, parse_stream_config
from service.streaming.flow_control import ResultPacer
from service.streaming.latency import LatencyTracker
from service.streaming.proto_messages import position_to_proto
from service.streaming.response_queue import QueuedResponse
from service.streaming.resume.checkpoint import client_config_key, server_config_hash
from service.streaming.resume.checkpoint_store import CheckpointStore, StreamClaim
from service.streaming.resume.checkpointer import CheckpointWriter
from service.streaming.resume.resume_point import CompletedStream, ResumePoint, find_resume_point
from service.streaming.resume.resume_token import new_stream_id, parse_resume_token
from service.streaming.session import Session
from service.telemetry.metrics import Metrics

FIRST_MESSAGE_SECONDS: Final = 10.0
"""What a call may take over its config."""
TAKEOVER_SECONDS: Final = 1.0
"""A stream that is taken over on the same gateway leaves within this time."""

log = logging.getLogger(__name__)


class StreamManager:
    """Annotates streams. Every door calls `annotate`."""

    def __init__(
        self,
        *,
        settings: Settings,
        extractor: StreamExtractor,
        inference: Inference,
        weights: Callable[[], Mapping[str, str]],
        checkpoint_store: CheckpointStore,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._extractor = extractor
        self._inference = BatchedInference(inference)
        self._pacer = ResultPacer()
        self._weights = weights
        self._checkpoint_store = checkpoint_store
        self._metrics = metrics
        self._admission = AdmissionControl(settings, metrics)
        self._sessions: set[Session] = set()
        self._local_claims: dict[StreamClaim, asyncio.Event] = {}
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
        config = await self._read_config(requests)
        start = await self._claim(config, caller)
        if isinstance(start, CompletedStream):
            for response in self._replay_completed(start):
                yield response
            return
        with (
            self._claim_registered(start.claim),
            self._admission.admit(),
            self._inference.active_stream(),
        ):
            if not await self._inference.is_ready():
                raise InferenceUnavailable("The models are away or not warm")
            if start.checkpoint is None:
                await self._checkpoint_store.register(start.claim)
            async with self._open_session(start, config, requests) as session:
                log.info(
                    "stream of %s: %s from frame %d",
                    *(caller.owner, type(config.media).__name__, start.next_final_index),
                )
                yield self._build_config_ack(start)
                for response in start.undelivered:
                    yield response
                latency = LatencyTracker(self._metrics)
                try:
                    while (reply := await session.response_queue.take()) is not None:
                        yield reply.response
                        self._observe_latency(reply, latency)
                    summary = session.build_summary()
                    if (times := latency.summarize()) is not None:
                        summary.latency.CopyFrom(times)
                    yield wire.StreamingAnnotateResponse(summary=summary)
                finally:
                    latency.publish()

    def drain(self) -> None:
        """Let no more streams in, and tell those under way to go elsewhere."""
        self._is_draining = True
        for session in self._sessions:
            session.drain()

    async def _read_config(
        self, requests: AsyncIterator[wire.StreamingAnnotateRequest]
    ) -> StreamSessionConfig:
        try:
            async with asyncio.timeout(FIRST_MESSAGE_SECONDS):
                first = await anext(requests, None)
        except TimeoutError as error:
            raise StreamIdle("The config did not come in time") from error
        if first is None or first.WhichOneof("message") != "config":
            raise StreamOutOfOrder("the first message is the config")
        return parse_stream_config(first.config, self._settings)

    async def _claim(
        self, config: StreamSessionConfig, caller: Caller
    ) -> ResumePoint | CompletedStream:
        """A new stream, or the one that the config's token names.

        Raises: ResumeTokenInvalid, StreamGone, StreamsFull, QueueUnavailable.
        """
        token = parse_resume_token(config.resume_token) if config.resume_token else None
        hold = StreamClaim(
            stream_id=new_stream_id() if token is None else token.stream_id,
            owner=caller.owner,
            client_config_key=client_config_key(config),
            server_config_hash=server_config_hash(self._settings, self._weights()),
        )
        if token is None:
            return ResumePoint(claim=hold)
        kept = await self._checkpoint_store.claim(hold)
        await self._end_local_session(token.stream_id)
        return find_resume_point(hold, kept, token)

    async def _end_local_session(self, stream_id: str) -> None:
        """Let the session here that has had the stream end, and wait until it has left."""
        for session in self._sessions:
            if session.resume_point.claim.stream_id == stream_id:
                session.supersede()
        leaving = [left for hold, left in self._local_claims.items() if hold.stream_id == stream_id]
        with suppress(TimeoutError):
            async with asyncio.timeout(TAKEOVER_SECONDS):
                for left in leaving:
                    await left.wait()

    @contextmanager
    def _claim_registered(self, claim: StreamClaim) -> Generator[None]:
        """A stream is here for as long as the context lasts."""
        left = self._local_claims[claim] = asyncio.Event()
        try:
            yield
        finally:
            del self._local_claims[claim]
            left.set()

    @asynccontextmanager
    async def _open_session(
        self,
        resume_point: ResumePoint,
        config: StreamSessionConfig,
        requests: AsyncIterator[wire.StreamingAnnotateRequest],
    ) -> AsyncGenerator[Session]:
        snapshot = None if resume_point.checkpoint is None else resume_point.checkpoint.snapshot
        state = None if snapshot is None else snapshot.state
        keeper = CheckpointWriter(
            self._checkpoint_store,
            resume_point.claim,
            response_count=resume_point.response_count,
            is_resumed=resume_point.checkpoint is not None,
        )
        async with self._extractor(config.media, state) as extraction:
            session = Session(
                resume_point,
                config,
                extraction=extraction,
                inference=self._inference,
                checkpoint_writer=keeper,
                pacer=self._pacer,
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
                await session.close()

    def _replay_completed(
        self, completed: CompletedStream
    ) -> Iterator[wire.StreamingAnnotateResponse]:
        """All that a client may have missed of a stream that has come to its end."""
        yield self._build_config_ack(completed)
        yield from completed.undelivered
        summary = wire.StreamSummary.FromString(completed.final_checkpoint.summary)
        yield wire.StreamingAnnotateResponse(summary=summary)

    def _build_config_ack(
        self, resume_point: ResumePoint | CompletedStream
    ) -> wire.StreamingAnnotateResponse:
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
            stream_id=resume_point.claim.stream_id,
            limits=limits,
            send_from=position_to_proto(resume_point.send_from),
            next_final_index=resume_point.next_final_index,
            weights_sha256=self._weights(),
        )
        return wire.StreamingAnnotateResponse(config_ack=ack)

    def _observe_latency(self, queued: QueuedResponse, latency: LatencyTracker) -> None:
        """The door has sent it."""
        if queued.arrived_at is None:
            return
        late_seconds = latency.observe(queued.response.frame_result, queued.arrived_at)
        if late_seconds is not None:
            self._admission.observe_lateness(late_seconds)
