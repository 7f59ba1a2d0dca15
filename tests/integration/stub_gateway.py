"""Stub gateway for tests of the clients: the contract of streams, without models."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from circumplex.v1 import annotation_pb2 as pb
from circumplex.v1 import annotation_pb2_grpc as services
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

LOOKAHEAD_FRAMES = 7
"""Frames received after one before its final result is sent."""

RELEASE_INTERVAL_FRAMES = 10
"""Frames after which media are released."""

FRAME_BYTES = 500
"""Bytes of a container that count as a frame."""

FRAME_SAMPLES = 4
"""Audio samples assumed to belong to each single frame."""

LIMITS = pb.Limits(message_bytes=2**16, stream_seconds=60, buffered_results=64, waiting_frames=16)

Response = pb.StreamingAnnotateResponse


def hash_to_valence(data: bytes) -> float:
    """Valence of a frame: a hash of its data."""
    return int.from_bytes(hashlib.sha256(data).digest()[:6]) / 2**48


def make_error_status(
    code: grpc.StatusCode, reason: str, retry_seconds: float | None = None
) -> Status:
    """Return the status of an error as the gateway sends it."""
    details = [any_pb2.Any() for _ in range(1 if retry_seconds is None else 2)]
    metadata = {"title": "It cannot be", "trace_id": "0af7"}
    details[0].Pack(ErrorInfo(reason=reason.upper(), domain="circumplex", metadata=metadata))
    if retry_seconds is not None:
        pause = Duration()
        pause.FromMilliseconds(round(1000 * retry_seconds))
        details[1].Pack(RetryInfo(retry_delay=pause))
    return Status(code=code.value[0], message=f"because of {reason}", details=details)


@dataclass(slots=True)
class StreamState:
    """State of a stream. call_count: calls that opened or resumed it."""

    is_container: bool
    frames: list[tuple[float, bytes]] = field(default_factory=list[tuple[float, bytes]])
    audio: bytearray = field(default_factory=bytearray)
    container: bytearray = field(default_factory=bytearray)
    final_count: int = 0
    call_count: int = 0

    @property
    def position(self) -> pb.MediaPosition:
        if self.is_container:
            return pb.MediaPosition(container_bytes=len(self.container))
        return pb.MediaPosition(frames=len(self.frames), audio_samples=len(self.audio) // 2)

    def append(self, request: pb.StreamingAnnotateRequest) -> None:
        match request.WhichOneof("message"):
            case "frame":
                self.frames.append((request.frame.time_seconds, request.frame.data))
            case "audio":
                self.audio.extend(request.audio.data)
            case _:
                self.container.extend(request.container.data)
                for start in range(
                    len(self.frames) * FRAME_BYTES, len(self.container), FRAME_BYTES
                ):
                    if (
                        len(data := bytes(self.container[start : start + FRAME_BYTES]))
                        == FRAME_BYTES
                    ):
                        self.frames.append((start / 1000, data))

    def rewind_to_released(self, next_final: int) -> None:
        """Go back to the last released media before this final result, as at another gateway."""
        self.final_count = next_final
        released = (
            0
            if self.is_container
            else next_final // RELEASE_INTERVAL_FRAMES * RELEASE_INTERVAL_FRAMES
        )
        del self.frames[released:]
        del self.audio[2 * FRAME_SAMPLES * released :]
        self.container.clear()


class StubAnnotationServicer(services.AnnotationServiceServicer):
    """Sends a provisional result for each frame, and its final one LOOKAHEAD_FRAMES later.

    keeps_stream_state: whether a resumed stream continues where it was, as at the same gateway, or
    from the released media, as at another. model: of its acknowledgements; empty: an older
    gateway, without a choice of models. next_errors: ends of the next calls. drain_at: frames
    after which one call is drained. fail_at: frames after which every call fails. never_finishes:
    whether the summary is withheld.
    """

    def __init__(self, *, keeps_stream_state: bool = True) -> None:
        self.streams: dict[str, StreamState] = {}
        self.configs: list[pb.StreamConfig] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.next_errors: list[Status] = []
        self.keeps_stream_state = keeps_stream_state
        self.model = ""
        self.drain_at: int | None = None
        self.fail_at: int | None = None
        self.never_finishes = False
        self._active_calls = 0

    async def is_idle(self) -> bool | None:
        """Return True when there is no call."""
        return None if self._active_calls else True

    async def StreamingAnnotate(  # noqa: N802 - the name in the contract
        self,
        request_iterator: AsyncIterator[pb.StreamingAnnotateRequest],
        context: Any,
    ) -> AsyncGenerator[Response]:
        self._active_calls += 1
        try:
            async for response in self._annotate(request_iterator, context):
                yield response
        finally:
            self._active_calls -= 1

    async def _annotate(
        self,
        request_iterator: AsyncIterator[pb.StreamingAnnotateRequest],
        context: Any,
    ) -> AsyncGenerator[Response]:
        self.metadata.append(dict(context.invocation_metadata() or ()))
        config = (await anext(request_iterator)).config
        self.configs.append(config)
        if self.next_errors:
            await context.abort_with_status(rpc_status.to_status(self.next_errors.pop(0)))
        stream_id, next_final = self._find_stream(config)
        state = self.streams[stream_id]
        state.call_count += 1
        call = state.call_count
        yield Response(
            config_ack=pb.ConfigAck(
                stream_id=stream_id,
                limits=LIMITS,
                send_from=state.position,
                next_final_index=next_final,
                weights_sha256={"fusion": "abc"},
                model=self.model,
                model_summary=f"Model {self.model}: not to be believed." if self.model else "",
            )
        )
        for index in range(next_final, state.final_count):
            yield _make_final_response(stream_id, state, index)
        async for request in request_iterator:
            if state.call_count != call:
                return
            for response in list(_respond_to(stream_id, state, request)):
                yield response
            if self.fail_at is not None and len(state.frames) >= self.fail_at:
                wrong = make_error_status(grpc.StatusCode.INVALID_ARGUMENT, "request_invalid")
                await context.abort_with_status(rpc_status.to_status(wrong))
            if self.drain_at is not None and len(state.frames) >= self.drain_at:
                self.drain_at = None
                token = _make_resume_token(stream_id, state.final_count - 1)
                yield Response(draining=pb.Draining(resume_token=token))
                draining = make_error_status(grpc.StatusCode.UNAVAILABLE, "gateway_draining", 0.0)
                await context.abort_with_status(rpc_status.to_status(draining))
        if self.never_finishes:
            await asyncio.Event().wait()
        for response in list(_finish_stream(stream_id, state)):
            yield response

    def _find_stream(self, config: pb.StreamConfig) -> tuple[str, int]:
        if not config.resume_token:
            stream_id = f"stream{len(self.streams)}"
            is_container = config.WhichOneof("media") == "container"
            self.streams[stream_id] = StreamState(is_container=is_container)
            return stream_id, 0
        stream_id, last = config.resume_token.split("/")
        next_final = int(last) + 1
        if not self.keeps_stream_state:
            self.streams[stream_id].rewind_to_released(next_final)
        return stream_id, next_final


@asynccontextmanager
async def serving_streams(servicer: StubAnnotationServicer, port: int = 0) -> AsyncGenerator[int]:
    """Serve a stub gateway; yields its port."""
    server = grpc.aio.server()
    services.add_AnnotationServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(grace=None)


def _respond_to(
    stream_id: str, state: StreamState, request: pb.StreamingAnnotateRequest
) -> Iterator[Response]:
    before = len(state.frames)
    state.append(request)
    for index in range(before, len(state.frames)):
        yield Response(frame_result=_make_frame_result(state, index))
    yield from _make_final_responses(
        stream_id, state, range(state.final_count, len(state.frames) - LOOKAHEAD_FRAMES)
    )


def _finish_stream(stream_id: str, state: StreamState) -> Iterator[Response]:
    yield from _make_final_responses(stream_id, state, range(state.final_count, len(state.frames)))
    audio_hash = hashlib.sha256(state.audio).hexdigest()
    yield Response(summary=pb.StreamSummary(frames=len(state.frames), flags=[audio_hash]))


def _make_final_responses(
    stream_id: str, state: StreamState, indices: Iterable[int]
) -> Iterator[Response]:
    for index in indices:
        state.final_count = index + 1
        yield _make_final_response(stream_id, state, index)
        if not state.is_container and state.final_count % RELEASE_INTERVAL_FRAMES == 0:
            until = pb.MediaPosition(
                frames=state.final_count, audio_samples=state.final_count * FRAME_SAMPLES
            )
            yield Response(media_released=pb.MediaReleased(until=until))


def _make_final_response(stream_id: str, state: StreamState, index: int) -> Response:
    result = _make_frame_result(state, index)
    result.is_final = True
    result.resume_token = _make_resume_token(stream_id, index)
    return Response(frame_result=result)


def _make_frame_result(state: StreamState, index: int) -> pb.FrameResult:
    time, data = state.frames[index]
    estimate = pb.Estimate(valence=hash_to_valence(data), arousal=0.5)
    box = pb.Box(left=1, top=2, width=3, height=4, score=0.9)
    track = pb.TrackResult(track=1, box=box, estimate=estimate)
    return pb.FrameResult(index=index, time_seconds=time, tracks=[track])


def _make_resume_token(stream_id: str, index: int) -> str:
    return f"{stream_id}/{index}" if index >= 0 else ""
