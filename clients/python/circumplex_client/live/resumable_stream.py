"""A stream that survives its calls: media are replayed, results deduplicated.

media ─▶ MediaSource ─▶ ReplayBuffer ─▶ call.write ··· ResponseReader ─▶ DeliveryLog ─▶ results
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import grpc

from circumplex_client.errors import (
    InvalidMedia,
    ProblemDetails,
    RequestRefused,
    ServiceUnreachable,
)
from circumplex_client.live.call_errors import CallInterrupted, classify_call_error
from circumplex_client.live.media import (
    ImageFrame,
    LiveStreamOptions,
    MediaChunk,
    split_into_messages,
)
from circumplex_client.live.media_source import MediaSource
from circumplex_client.live.position import StreamPosition
from circumplex_client.live.replay_buffer import ReplayBuffer
from circumplex_client.live.responses import DeliveryLog, ResponseReader
from circumplex_client.live.results import LiveResult, StreamAccepted, StreamSummary
from circumplex_client.v1 import annotation_pb2 as pb

ACCEPT_TIMEOUT_SECONDS: Final = 30.0
"""Timeout of the service's first answer to a call."""

END_TIMEOUT_SECONDS: Final = 2.0
"""Timeout of the end of a call after the stream's summary."""

CHUNK_BYTES: Final = 2**18
MESSAGE_OVERHEAD_BYTES: Final = 64
"""Upper bound of a message's size beyond its data."""

_NO_CHOICE: Final = ProblemDetails(
    code="model_unknown",
    title="No model of this name is served",
    status=404,
    detail="this service is of an older version, without a choice of models",
    retryable=False,
)

Call = grpc.aio.StreamStreamCall[Any, Any]
OpenCall = Callable[[], Call]


class ResumableStream:
    """State of one stream across calls: sent media and received results."""

    def __init__(
        self,
        media: AsyncIterable[MediaChunk],
        options: LiveStreamOptions,
        *,
        target: str,
        memory_bytes: int,
    ) -> None:
        self._options = options
        self._target = target
        self._delivery_log = DeliveryLog()
        self._source = MediaSource(media)
        self._replay_buffer = ReplayBuffer(options.media, memory_bytes=memory_bytes)
        self._failure: Exception | None = None
        self._is_draining = False

    async def close(self) -> None:
        """Drop stored media and stop reading the caller's."""
        self._replay_buffer.close()
        await self._source.close()

    def restart_from_beginning(self) -> bool:
        """Drop the resume token if all media can be sent again; returns whether they can."""
        possible = self._replay_buffer.is_complete and bool(self._delivery_log.resume_token)
        if possible:
            self._delivery_log.resume_token = ""
        return possible

    async def run_call(self, open_call: OpenCall) -> AsyncGenerator[StreamAccepted | LiveResult]:
        """Run one call; yields StreamAccepted, then the results not yet received.

        Ends after the summary. Raises: CallInterrupted, ClientError, and what the media raise.
        """
        self._is_draining = False
        call, sending = open_call(), None
        try:
            responses = ResponseReader(call)
            accepted = await self._start_call(call, responses)
            yield StreamAccepted.from_proto(accepted)
            sending = asyncio.create_task(self._send_media(call, accepted))
            while (response := await self._read_response(responses)) is not None:
                result = self._handle_response(response)
                if isinstance(result, StreamSummary):
                    await _await_end(responses)
                    yield result
                    return
                if result is not None:
                    yield result
            raise CallInterrupted(
                ServiceUnreachable(f"{self._target} ended the call before the stream")
            )
        finally:
            call.cancel()
            if sending is not None:
                sending.cancel()
                await asyncio.wait({sending})

    async def _start_call(self, call: Call, responses: ResponseReader) -> pb.ConfigAck:
        """Send the configuration of a new or resumed stream and wait for its ConfigAck."""
        try:
            async with asyncio.timeout(ACCEPT_TIMEOUT_SECONDS):
                with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    await call.write(self._options.to_message(self._delivery_log.resume_token))
                response = await self._read_response(responses)
        except TimeoutError as error:
            no_answer = ServiceUnreachable(
                f"{self._target} does not answer within {ACCEPT_TIMEOUT_SECONDS:g} s"
            )
            raise CallInterrupted(no_answer) from error
        if response is None or not response.HasField("config_ack"):
            raise ServiceUnreachable(f"{self._target} does not respond like a Circumplex gateway")
        accepted = response.config_ack
        if self._options.model and not accepted.model:
            raise RequestRefused(_NO_CHOICE)
        self._replay_buffer.check_resumable(StreamPosition.from_proto(accepted.send_from))
        # Also a stream that has to begin anew keeps the version, whatever is current by then.
        self._options = replace(self._options, model=accepted.model or self._options.model)
        self._delivery_log.start_call()
        return accepted

    async def _read_response(
        self, responses: ResponseReader
    ) -> pb.StreamingAnnotateResponse | None:
        """Return the next response, None at the end of the call."""
        try:
            return await responses.read()
        except grpc.aio.AioRpcError as failure:
            raise self._failure or classify_call_error(failure, self._target) from failure
        except asyncio.CancelledError:
            if self._failure is not None:
                raise self._failure from None
            raise

    def _handle_response(self, response: pb.StreamingAnnotateResponse) -> LiveResult | None:
        """Return the response's result for the caller; apply control messages."""
        match response.WhichOneof("message"):
            case "frame_result":
                return self._delivery_log.accept_frame(response.frame_result)
            case "frames_dropped":
                return self._delivery_log.accept_dropped(response.frames_dropped)
            case "media_released":
                self._replay_buffer.release(
                    StreamPosition.from_proto(response.media_released.until)
                )
            case "draining":
                self._is_draining = True
                self._delivery_log.resume_token = (
                    response.draining.resume_token or self._delivery_log.resume_token
                )
            case "summary":
                return StreamSummary.from_proto(response.summary)
            case _:
                pass
        return None

    async def _send_media(self, call: Call, accepted: pb.ConfigAck) -> None:
        """Send the stored media that the service lacks, then new ones from the caller."""
        since, number = (
            StreamPosition.from_proto(accepted.send_from),
            self._replay_buffer.first_number,
        )
        try:
            while not self._is_draining:
                number = max(number, self._replay_buffer.first_number)
                if number == self._replay_buffer.next_number:
                    new_chunk = await self._source.read()
                    if new_chunk is None:
                        await call.done_writing()
                        return
                    self._replay_buffer.append(new_chunk)
                    continue
                chunk = self._replay_buffer.read_from(number, since)
                number += 1
                if chunk is not None:
                    await self._write_chunk(call, chunk, accepted.limits.message_bytes)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return  # the call has ended: reading it raises the error
        except Exception as failure:
            self._failure = failure
            call.cancel()

    async def _write_chunk(self, call: Call, chunk: MediaChunk, message_bytes: int) -> None:
        largest = message_bytes - MESSAGE_OVERHEAD_BYTES
        if isinstance(chunk, ImageFrame) and len(chunk.data) > largest:
            raise InvalidMedia(
                f"the frame at {chunk.time} s has {len(chunk.data)} bytes; "
                f"the service takes messages of up to {message_bytes}"
            )
        chunk_bytes = min(CHUNK_BYTES, largest)
        for message in split_into_messages(chunk, self._options.media, max_bytes=chunk_bytes):
            await call.write(message)


async def _await_end(responses: ResponseReader) -> None:
    """Wait for a call to end after its summary; errors and timeouts are ignored."""
    with suppress(grpc.aio.AioRpcError, TimeoutError):
        async with asyncio.timeout(END_TIMEOUT_SECONDS):
            await responses.read()
