"""The child of a stream as its parent sees it: fed, listened to, and always reaped.

It may be silent for hours while nothing comes. What it was given it must answer: a child that
says nothing while media wait is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final

from service.decoding.clip_reader import ReadTimeouts, diagnose_exit, read_message_parts
from service.decoding.forkserver.child import ChildHandle
from service.decoding.forkserver.client import Forkserver
from service.decoding.protocol import stream_messages
from service.decoding.protocol.media_input import END, encode_piece, encode_state
from service.decoding.protocol.stream_messages import InputExhausted, StreamMessage
from service.decoding.stream_account import StreamAccount
from service.domain.clip import ClipClosed
from service.domain.stream import Snapshot, StreamExtractionEvent, StreamInput
from service.errors import DecoderCrashed, DecoderTimedOut

_MAX_UNSENT_BYTES: Final = 1 << 16
"""Beyond what the pipe holds."""


@contextlib.asynccontextmanager
async def run_stream_child(
    forkserver: Forkserver,
    request: bytes,
    timeouts: ReadTimeouts,
    account: StreamAccount,
    snapshot: bytes | None = None,
) -> AsyncGenerator[StreamChild]:
    """Have a child work on media as they are sent; kill and reap it on leaving.

    Args: ledger: a new one; snapshot: the state of a Snapshot, to go on from.
    Raises: DecoderKilled, FaceModelsMissing, StreamGone: the state is of another version.
    """
    state = None if snapshot is None else account.unseal(snapshot)
    reading, writing = os.pipe()
    with contextlib.ExitStack() as held:
        read_end = held.enter_context(os.fdopen(reading, "rb", buffering=0))
        pipe = held.enter_context(os.fdopen(writing, "wb", buffering=0))
        async with forkserver.child(request, [reading]) as child:
            read_end.close()  # when the child has gone, nobody reads
            writer = await _open_writer(pipe)
            live = StreamChild(forkserver, child, writer, timeouts, account)
            watching = asyncio.create_task(live.kill_when_stalled())
            try:
                if state is not None:
                    await live.restore(state)
                yield live
            finally:
                watching.cancel()
                if not writer.is_closing():  # the child has gone first
                    writer.transport.abort()


async def _open_writer(pipe: object) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), pipe
    )
    transport.set_write_buffer_limits(high=_MAX_UNSENT_BYTES)
    return asyncio.StreamWriter(transport, protocol, None, loop)


class StreamChild:
    """A stream's extraction under way."""

    def __init__(
        self,
        forkserver: Forkserver,
        child: ChildHandle,
        writer: asyncio.StreamWriter,
        timeouts: ReadTimeouts,
        account: StreamAccount,
    ) -> None:
        self._forkserver = forkserver
        self._child = child
        self._writer = writer
        self._timeouts = timeouts
        self._account = account
        self._accepts_input = True
        self._unanswered_since: float | None = None
        self._reading_since: float | None = None
        self._is_stalled = False

    async def restore(self, state: bytes) -> None:
        """Hand over, before all media, the state of a snapshot that the ledger has unsealed."""
        await self._write(encode_state(state))

    async def send(self, piece: StreamInput) -> None:
        """Hand over the next media; waits while those before are not taken.

        Nothing happens once the child takes no more: `extracts` tells why.
        """
        self._account.record_sent(piece)
        await self._write(encode_piece(piece))

    async def end(self) -> None:
        """Say that no more media will come; what is there is worked off."""
        self._account.record_end()
        await self._write([END])

    async def events(self) -> AsyncIterator[StreamExtractionEvent]:
        """What becomes of the media, until ClipClosed; to be read at once and all the time.

        Raises: DecoderCrashed, DecoderTimedOut, DecoderKilled, and what the child reports.
        """
        while True:
            message = await self._read()
            if not self._account.accept(message):
                raise DecoderCrashed("The decoder process sent messages out of order")
            self._unanswered_since = None if self._account.is_settled else time.monotonic()
            if isinstance(message, Snapshot):
                yield self._account.seal(message)
            elif not isinstance(message, InputExhausted):
                yield message
            if isinstance(message, ClipClosed):
                return

    async def kill_when_stalled(self) -> None:
        """Kill a child that says nothing while media wait and it is listened to."""
        stall_seconds = self._timeouts.stall_seconds
        while not self._is_stalled:
            await asyncio.sleep(min(1.0, stall_seconds / 4))
            if self._unanswered_since is not None and self._reading_since is not None:
                silent = time.monotonic() - max(self._unanswered_since, self._reading_since)
                self._is_stalled = silent > stall_seconds
        self._child.kill()

    async def _write(self, parts: Sequence[bytes]) -> None:
        if not self._accepts_input:
            await asyncio.sleep(0)  # who sends on and on lets others work
            return
        if self._unanswered_since is None and not self._account.is_settled:
            self._unanswered_since = time.monotonic()
        try:
            self._writer.writelines(parts)
            await self._writer.drain()
        except ConnectionError:  # its last message says why, or its end does
            self._accepts_input = False

    async def _read(self) -> StreamMessage:
        self._reading_since = time.monotonic()
        try:
            parts = await read_message_parts(self._child.messages, self._account.max_frames)
        except asyncio.IncompleteReadError as error:
            raise await self._diagnose_exit() from error
        finally:
            self._reading_since = None
        return stream_messages.decode(*parts)

    async def _diagnose_exit(self) -> Exception:
        if self._is_stalled:
            return DecoderTimedOut()
        reason = await diagnose_exit(self._child, cpu_seconds=self._timeouts.cpu_seconds)
        if isinstance(reason, DecoderCrashed):
            self._forkserver.replace()
        return reason
