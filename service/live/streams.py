"""The streams of this gateway: one call, one stream, whatever the door."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

from circumplex.v1 import annotation_pb2 as wire

from service.domain.caller import Caller
from service.domain.ports import Inference, LiveExtractor
from service.errors import GatewayDraining, InferenceUnavailable, StreamIdle, StreamOutOfOrder
from service.live.admission import Admission
from service.live.config import LiveConfig, read_config
from service.live.latency import Latency
from service.live.outbox import Reply
from service.live.session import Session
from service.settings import Settings
from service.telemetry.metrics import Metrics

FIRST_MESSAGE_SECONDS = 10.0
"""What a call may take over its config."""

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
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._extractor = extractor
        self._inference = inference
        self._weights = weights
        self._metrics = metrics
        self._admission = Admission(settings, metrics)
        self._sessions: set[Session] = set()
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
        with self._admission.stream():
            if not await self._inference.is_ready():
                raise InferenceUnavailable("The models are away or not warm")
            async with self._open(config, requests) as session:
                log.info("stream of %s: %s", caller.owner, type(config.media).__name__)
                yield self._acknowledge(session)
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

    @asynccontextmanager
    async def _open(
        self, config: LiveConfig, requests: AsyncIterator[wire.StreamingAnnotateRequest]
    ) -> AsyncGenerator[Session]:
        async with self._extractor(config.media) as extraction:
            session = Session(
                secrets.token_urlsafe(16),
                config,
                extraction=extraction,
                inference=self._inference,
                settings=self._settings,
                metrics=self._metrics,
            )
            working = asyncio.create_task(session.run(requests), name="stream")
            self._sessions.add(session)
            try:
                yield session
            finally:
                self._sessions.discard(session)
                working.cancel()
                with suppress(asyncio.CancelledError):
                    await working

    def _acknowledge(self, session: Session) -> wire.StreamingAnnotateResponse:
        settings = self._settings
        limits = wire.Limits(
            message_bytes=settings.stream_message_bytes,
            frame_pixels=settings.max_frame_pixels,
            stream_seconds=settings.max_clip_seconds,
            buffered_results=settings.stream_results,
            waiting_frames=settings.stream_waiting_frames,
            resume_seconds=settings.stream_resume_seconds,
        )
        ack = wire.ConfigAck(
            stream_id=session.stream_id,
            limits=limits,
            send_from=wire.MediaPosition(),
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
