"""One stream over however many calls it takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import suppress
from typing import Any, Final

import grpc

from circumplex_client.errors import MediaUnfit, Unreachable
from circumplex_client.live.breaks import CallBroken, reason_of
from circumplex_client.live.journal import Journal
from circumplex_client.live.media import Frame, LiveChoices, Piece, messages_of
from circumplex_client.live.position import Position
from circumplex_client.live.responses import Responses
from circumplex_client.live.results import Accepted, LiveResult, Summary
from circumplex_client.live.source import Source
from circumplex_client.live.spool import Spool
from circumplex_client.v1 import annotation_pb2 as pb

ACCEPT_SECONDS: Final = 30.0
"""For how long the service may keep a call waiting before it takes it or not."""

END_SECONDS: Final = 2.0
"""For how long the end of a call is awaited whose stream has ended."""

CHUNK_BYTES: Final = 2**18
OVERHEAD_BYTES: Final = 64
"""What a message takes beyond its data, at most."""

Call = grpc.aio.StreamStreamCall[Any, Any]
OpenCall = Callable[[], Call]


class Stream:
    """What outlives a call: what was sent, and what has come back."""

    def __init__(
        self, media: AsyncIterable[Piece], choices: LiveChoices, *, target: str, memory_bytes: int
    ) -> None:
        self._choices = choices
        self._target = target
        self._journal = Journal()
        self._source = Source(media)
        self._spool = Spool(choices.media, memory_bytes=memory_bytes)
        self._failure: Exception | None = None
        self._draining = False

    async def close(self) -> None:
        """Forget everything; stop reading the caller's media."""
        self._spool.close()
        await self._source.close()

    def begin_anew(self) -> bool:
        """Forget the token where everything can be sent again; returns whether that is so."""
        possible = self._spool.is_whole and bool(self._journal.token)
        if possible:
            self._journal.token = ""
        return possible

    async def call(self, open_call: OpenCall) -> AsyncGenerator[Accepted | LiveResult]:
        """What the service says to the call itself, then results from where they stopped.

        Ends after the summary. Raises: CallBroken, ClientError, and what the media raise.
        """
        self._draining = False
        call, sending = open_call(), None
        try:
            responses = Responses(call)
            accepted = await self._begin(call, responses)
            yield Accepted.read(accepted)
            sending = asyncio.create_task(self._send(call, accepted))
            while (response := await self._read(responses)) is not None:
                result = self._result_of(response)
                if isinstance(result, Summary):
                    await _await_end(responses)
                    yield result
                    return
                if result is not None:
                    yield result
            raise CallBroken(Unreachable(f"{self._target} ended the call before the stream"))
        finally:
            call.cancel()
            if sending is not None:
                sending.cancel()
                await asyncio.wait({sending})

    async def _begin(self, call: Call, responses: Responses) -> pb.ConfigAck:
        """Announce the stream, new or to be gone on with, and wait until it is taken."""
        try:
            async with asyncio.timeout(ACCEPT_SECONDS):
                with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    await call.write(self._choices.to_message(self._journal.token))
                response = await self._read(responses)
        except TimeoutError as error:
            silent = Unreachable(f"{self._target} says nothing for {ACCEPT_SECONDS:g} s")
            raise CallBroken(silent) from error
        if response is None or not response.HasField("config_ack"):
            raise Unreachable(f"{self._target} answers, and not as Circumplex does")
        self._spool.check(Position.read(response.config_ack.send_from))
        self._journal.begin_call()
        return response.config_ack

    async def _read(self, responses: Responses) -> pb.StreamingAnnotateResponse | None:
        """The next response, None at the end of the call."""
        try:
            return await responses.next()
        except grpc.aio.AioRpcError as failure:
            raise self._failure or reason_of(failure, self._target) from failure
        except asyncio.CancelledError:
            if self._failure is not None:
                raise self._failure from None
            raise

    def _result_of(self, response: pb.StreamingAnnotateResponse) -> LiveResult | None:
        """What the caller gets of a response; the rest is taken to heart here."""
        match response.WhichOneof("message"):
            case "frame_result":
                return self._journal.frame(response.frame_result)
            case "frames_dropped":
                return self._journal.dropped(response.frames_dropped)
            case "media_released":
                self._spool.release(Position.read(response.media_released.until))
            case "draining":
                self._draining = True
                self._journal.token = response.draining.resume_token or self._journal.token
            case "summary":
                return Summary.read(response.summary)
            case _:
                pass
        return None

    async def _send(self, call: Call, accepted: pb.ConfigAck) -> None:
        """Send what the service has not got, then what the caller brings."""
        since, number = Position.read(accepted.send_from), self._spool.first
        try:
            while not self._draining:
                number = max(number, self._spool.first)
                if number == self._spool.next:
                    new = await self._source.next()
                    if new is None:
                        await call.done_writing()
                        return
                    self._spool.append(new)
                    continue
                piece = self._spool.piece(number, since)
                number += 1
                if piece is not None:
                    await self._write(call, piece, accepted.limits.message_bytes)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return  # the call has ended: whoever reads it hears why
        except Exception as failure:
            self._failure = failure
            call.cancel()

    async def _write(self, call: Call, piece: Piece, message_bytes: int) -> None:
        largest = message_bytes - OVERHEAD_BYTES
        if isinstance(piece, Frame) and len(piece.data) > largest:
            raise MediaUnfit(
                f"the frame at {piece.time} s has {len(piece.data)} bytes; "
                f"the service takes messages of up to {message_bytes}"
            )
        chunk_bytes = min(CHUNK_BYTES, largest)
        for message in messages_of(piece, self._choices.media, largest_bytes=chunk_bytes):
            await call.write(message)


async def _await_end(responses: Responses) -> None:
    """Let a call end by itself whose stream is over; if it does not, nothing is lost."""
    with suppress(grpc.aio.AioRpcError, TimeoutError):
        async with asyncio.timeout(END_SECONDS):
            await responses.next()
