"""Manager of a gateway's streams: claims, admits and runs one session for each call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Generator,
    Iterator,
)
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from typing import Final

from service.domain.caller import Caller
from service.domain.estimator import EstimatorId
from service.domain.ports import StreamExtraction, StreamExtractor
from service.errors import (
    GatewayDraining,
    InferenceUnavailable,
    ModelChanged,
    ModelNotServed,
    ResumeTokenInvalid,
    StreamIdle,
    StreamOutOfOrder,
)
from service.pipeline.estimators import EstimatorCatalog, ServedEstimator
from service.pipeline.verification import VERIFIED_SECONDS
from service.settings import Settings
from service.streaming.admission import AdmissionControl, LatencyTracker
from service.streaming.batching import BatchedInference
from service.streaming.config import StreamRequest, StreamSessionConfig, check_stream_config
from service.streaming.events import SessionLimits, StreamEvent, StreamOpened, StreamResult
from service.streaming.flow_control import QueuedEvent, ResultPacer
from service.streaming.resume.checkpoint import client_config_key, server_config_hash
from service.streaming.resume.checkpoint_store import CheckpointStore, StreamClaim
from service.streaming.resume.checkpointer import CheckpointWriter
from service.streaming.resume.resume_point import (
    CompletedStream,
    ResumePoint,
    find_resume_point,
    new_stream_id,
    parse_resume_token,
)
from service.streaming.session import Session
from service.telemetry.metrics import Metrics

FIRST_MESSAGE_SECONDS: Final = 10.0
"""Timeout of the config."""
TAKEOVER_SECONDS: Final = 1.0
"""Longest wait for the former session of a stream that is resumed at the same gateway."""

log = logging.getLogger(__name__)


class StreamManager:
    """Streams of this gateway, over any transport."""

    def __init__(
        self,
        *,
        settings: Settings,
        extractor: StreamExtractor,
        estimators: EstimatorCatalog,
        checkpoint_store: CheckpointStore,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._extractor = extractor
        self._estimators = estimators
        self._batched: dict[EstimatorId, BatchedInference] = {}
        """Of the estimators that streams use now."""
        self._pacer = ResultPacer()
        self._checkpoint_store = checkpoint_store
        self._metrics = metrics
        self._admission = AdmissionControl(settings, metrics)
        self._sessions: set[Session] = set()
        self._local_claims: dict[StreamClaim, asyncio.Event] = {}
        """Claims of the sessions here; the event is set when the session has ended."""
        self._is_draining = False

    async def annotate(
        self, requests: AsyncIterator[StreamRequest], caller: Caller
    ) -> AsyncGenerator[StreamEvent]:
        """Annotate one stream; the end of the requests is the end of the media.

        Closing the generator releases everything at once; the stream can then be resumed.

        Raises: RequestError, ClipError or ServiceError for the stream; GatewayDraining.
        """
        if self._is_draining:
            raise GatewayDraining()
        config = await self._read_config(requests)
        estimator = await self._open_estimator(config)
        resume_point = await self._claim(config, estimator, caller)
        if isinstance(resume_point, CompletedStream):
            for event in self._replay_completed(resume_point, estimator):
                yield event
            return
        session = self._run_session(resume_point, config, estimator, requests, caller.client_id)
        async with aclosing(session) as events:
            async for event in events:
                yield event

    def drain(self) -> None:
        """Refuse new streams, and end those under way to be resumed at another gateway."""
        self._is_draining = True
        for session in self._sessions:
            session.drain()

    async def check_models(self) -> None:
        """Verify the models of the streams under way; those whose model has changed are ended.

        Results that were sent before are by another model for `VERIFIED_SECONDS` at most.
        """
        for session in list(self._sessions):
            try:
                await self._estimators.confirm(
                    session.estimator, max_age_seconds=VERIFIED_SECONDS / 2
                )
            except InferenceUnavailable:
                return
            except (ModelChanged, ModelNotServed) as error:
                session.abort(error)

    async def _run_session(
        self,
        resume_point: ResumePoint,
        config: StreamSessionConfig,
        estimator: ServedEstimator,
        requests: AsyncIterator[StreamRequest],
        client_id: str,
    ) -> AsyncGenerator[StreamEvent]:
        with (
            self._claim_registered(resume_point.claim),
            self._admission.admit(client_id, estimator.id),
            self._share_batches(estimator) as batched,
        ):
            if resume_point.checkpoint is None:
                await self._checkpoint_store.register(resume_point.claim)
            latency = LatencyTracker(self._metrics, estimator.id)
            async with self._open_session(resume_point, config, batched, requests) as session:
                log.info(
                    "stream of %s by %s: %s from frame %d",
                    resume_point.claim.owner,
                    estimator.id,
                    type(config.media).__name__,
                    resume_point.next_final_index,
                )
                yield self._make_opened(resume_point, estimator)
                for event in resume_point.undelivered:
                    yield event
                async with aclosing(self._take_events(session, latency)) as events:
                    async for event in events:
                        yield event

    async def _take_events(
        self, session: Session, latency: LatencyTracker
    ) -> AsyncGenerator[StreamEvent]:
        """Yield the events of a session; an event counts as sent when the next one is requested."""
        try:
            while (queued := await session.response_queue.take()) is not None:
                yield queued.event
                self._observe_latency(queued, latency)
            yield replace(session.build_summary(), latency=latency.summarize())
        finally:
            latency.publish()

    async def _read_config(self, requests: AsyncIterator[StreamRequest]) -> StreamSessionConfig:
        try:
            async with asyncio.timeout(FIRST_MESSAGE_SECONDS):
                first = await anext(requests, None)
        except TimeoutError as error:
            raise StreamIdle("The config did not come in time") from error
        if not isinstance(first, StreamSessionConfig):
            raise StreamOutOfOrder("the first message is the config")
        check_stream_config(first, self._settings)
        return first

    async def _open_estimator(self, config: StreamSessionConfig) -> ServedEstimator:
        """Open the estimator that the config chooses, or that of the stream to be resumed.

        Raises: ResumeTokenInvalid: the config chooses another one; StreamExpired; as
            `EstimatorCatalog.choose` and `open`.
        """
        if not config.resume_token:
            return await self._estimators.open(self._estimators.choose(config.model))
        token = parse_resume_token(config.resume_token)
        model = EstimatorId.parse(await self._checkpoint_store.read_model(token.stream_id))
        if config.model not in (None, model.name, str(model)):
            raise ResumeTokenInvalid(f"The stream to be resumed is annotated by {model}")
        return await self._estimators.open(model)

    @contextmanager
    def _share_batches(self, estimator: ServedEstimator) -> Generator[ServedEstimator]:
        """Yield the estimator with its calls batched over all streams that use it."""
        batched = self._batched.setdefault(estimator.id, BatchedInference(estimator.inference))
        try:
            with batched.active_stream():
                yield replace(estimator, inference=batched)
        finally:
            if not batched.has_streams:
                self._batched.pop(estimator.id, None)

    async def _claim(
        self, config: StreamSessionConfig, estimator: ServedEstimator, caller: Caller
    ) -> ResumePoint | CompletedStream:
        """Claim a new stream, or the one that the config's token names.

        Raises: ResumeTokenInvalid, StreamExpired, QueueUnavailable.
        """
        token = parse_resume_token(config.resume_token) if config.resume_token else None
        claim = StreamClaim(
            stream_id=new_stream_id() if token is None else token.stream_id,
            owner=caller.owner,
            model=str(estimator.id),
            client_config_key=client_config_key(config),
            server_config_hash=server_config_hash(
                self._settings, estimator.parameters, estimator.manifest.weights_sha256
            ),
        )
        if token is None:
            return ResumePoint(claim=claim)
        stored = await self._checkpoint_store.claim(claim)
        await self._end_local_session(token.stream_id)
        return find_resume_point(claim, stored, token)

    async def _end_local_session(self, stream_id: str) -> None:
        """End the session of this stream at this gateway, if any, and wait until it has ended."""
        for session in self._sessions:
            if session.resume_point.claim.stream_id == stream_id:
                session.supersede()
        endings = [
            ended for claim, ended in self._local_claims.items() if claim.stream_id == stream_id
        ]
        with suppress(TimeoutError):
            async with asyncio.timeout(TAKEOVER_SECONDS):
                for ended in endings:
                    await ended.wait()

    @contextmanager
    def _claim_registered(self, claim: StreamClaim) -> Generator[None]:
        """Register a claim of this gateway while the context lasts."""
        ended = self._local_claims[claim] = asyncio.Event()
        try:
            yield
        finally:
            del self._local_claims[claim]
            ended.set()

    @asynccontextmanager
    async def _open_session(
        self,
        resume_point: ResumePoint,
        config: StreamSessionConfig,
        estimator: ServedEstimator,
        requests: AsyncIterator[StreamRequest],
    ) -> AsyncGenerator[Session]:
        snapshot = None if resume_point.checkpoint is None else resume_point.checkpoint.snapshot
        state = None if snapshot is None else snapshot.state
        async with self._extractor(config.media, state) as extraction:
            session = self._create_session(resume_point, config, estimator, extraction)
            task = asyncio.create_task(session.run(requests), name="stream")
            self._sessions.add(session)
            if self._is_draining:
                session.drain()
            try:
                yield session
            finally:
                self._sessions.discard(session)
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                await session.close()

    def _create_session(
        self,
        resume_point: ResumePoint,
        config: StreamSessionConfig,
        estimator: ServedEstimator,
        extraction: StreamExtraction,
    ) -> Session:
        checkpoint_writer = CheckpointWriter(
            self._checkpoint_store,
            resume_point.claim,
            response_count=resume_point.response_count,
            is_resumed=resume_point.checkpoint is not None,
        )
        return Session(
            resume_point,
            config,
            extraction=extraction,
            estimator=estimator,
            checkpoint_writer=checkpoint_writer,
            pacer=self._pacer,
            settings=self._settings,
            metrics=self._metrics,
        )

    def _replay_completed(
        self, completed: CompletedStream, estimator: ServedEstimator
    ) -> Iterator[StreamEvent]:
        """Yield the undelivered events of a stream that ended after its client was disconnected."""
        yield self._make_opened(completed, estimator)
        yield from completed.undelivered
        yield completed.final_checkpoint.summary

    def _make_opened(
        self, resume_point: ResumePoint | CompletedStream, estimator: ServedEstimator
    ) -> StreamOpened:
        settings = self._settings
        limits = SessionLimits(
            message_bytes=settings.max_stream_message_bytes,
            frame_pixels=settings.max_frame_pixels,
            stream_seconds=settings.max_clip_seconds,
            buffered_results=settings.stream_unread_results,
            waiting_frames=settings.stream_queue_frames,
            resume_seconds=settings.stream_resume_seconds,
        )
        return StreamOpened(
            stream_id=resume_point.claim.stream_id,
            limits=limits,
            send_from=resume_point.send_from,
            next_final_index=resume_point.next_final_index,
            manifest=estimator.manifest,
        )

    def _observe_latency(self, queued: QueuedEvent, latency: LatencyTracker) -> None:
        if queued.arrived_at is None or not isinstance(queued.event, StreamResult):
            return
        late_seconds = latency.observe(queued.event, queued.arrived_at)
        if late_seconds is not None:
            self._admission.observe_lateness(late_seconds)
