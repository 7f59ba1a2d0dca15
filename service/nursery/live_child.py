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

from service.domain.clip import ClipClosed, ClipOpened
from service.domain.live import (
    ContainerBytes,
    Heard,
    LiveExtract,
    LiveFrame,
    LivePiece,
    Seen,
    Unreadable,
)
from service.errors import DecoderCrashed, DecoderTimedOut
from service.nursery import live_wire
from service.nursery.child import Patience, read_parts, reason_of_end
from service.nursery.lifeline import Child
from service.nursery.live_wire import Dry, LiveMessage
from service.nursery.nursery import Nursery
from service.nursery.pieces import END, encode_piece

_MOST_UNSENT_BYTES: Final = 1 << 16
"""Beyond what the pipe holds."""


@contextlib.asynccontextmanager
async def run_live_child(
    nursery: Nursery, request: bytes, patience: Patience, *, most_frames: int, opens: bool
) -> AsyncGenerator[LiveChild]:
    """Have a child work on media as they are sent; kill and reap it on leaving.

    Args: most_frames: of one message; opens: whether it says what the media are.
    Raises: DecoderKilled, FaceModelsMissing.
    """
    reading, writing = os.pipe()
    with contextlib.ExitStack() as held:
        lent = held.enter_context(os.fdopen(reading, "rb", buffering=0))
        pipe = held.enter_context(os.fdopen(writing, "wb", buffering=0))
        async with nursery.child(request, [reading]) as child:
            lent.close()  # when the child has gone, nobody reads
            writer = await _open_writer(pipe)
            live = LiveChild(nursery, child, writer, patience, Ledger(most_frames, opens=opens))
            watching = asyncio.create_task(live.watch())
            try:
                yield live
            finally:
                watching.cancel()
                writer.transport.abort()


async def _open_writer(pipe: object) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), pipe
    )
    transport.set_write_buffer_limits(high=_MOST_UNSENT_BYTES)
    return asyncio.StreamWriter(transport, protocol, None, loop)


class Ledger:
    """What was sent and what was answered: only what can be true is believed."""

    def __init__(self, most_frames: int, *, opens: bool) -> None:
        self.most_frames = most_frames
        self._opens = opens
        self._is_open = not opens
        self._sent_bytes = self._taken_bytes = 0
        self._sent_frames = self._answered_frames = 0
        self._seen = self._heard = 0
        self._first_arrival: float | None = None
        self._last_arrival = 0.0
        self._has_ended = False

    @property
    def is_square(self) -> bool:
        """Whether everything was answered; once the media have ended only the last word is."""
        frames = self._sent_frames == self._answered_frames
        return frames and self._sent_bytes == self._taken_bytes and not self._has_ended

    def note_sent(self, piece: LivePiece) -> None:
        """A piece goes out."""
        match piece:
            case ContainerBytes():
                self._sent_bytes += len(piece.data)
            case LiveFrame():
                self._sent_frames += 1
            case _:
                return
        if self._first_arrival is None:
            self._first_arrival = piece.arrived_at
        self._last_arrival = max(self._last_arrival, piece.arrived_at)

    def note_end(self) -> None:
        """No more pieces go out."""
        self._has_ended = True

    def admit(self, message: LiveMessage) -> bool:
        """Take a message to the account; whether it can be true."""
        match message:
            case ClipOpened():
                in_order, self._is_open = self._opens and not self._is_open, True
            case Seen():
                in_order = self._is_open and message.frames[0].index == self._seen
                in_order &= all(self._is_arrival(each) for each in message.arrived_at)
                self._seen += len(message.frames)
                in_order &= self._answer(len(message.frames))
            case Unreadable():
                in_order = not self._opens and self._answer(1)
            case Heard():
                self._heard += len(message.patch_starts)
                in_order = self._heard <= self._seen
            case Dry(taken_bytes=taken_bytes):
                in_order = self._opens and self._taken_bytes <= taken_bytes <= self._sent_bytes
                self._taken_bytes = taken_bytes
            case ClipClosed():
                in_order = self._is_open and self._heard == self._seen == message.frames
        return in_order

    def _answer(self, frames: int) -> bool:
        if not self._opens:
            self._answered_frames += frames
        return self._answered_frames <= self._sent_frames

    def _is_arrival(self, moment: float) -> bool:
        first = self._first_arrival
        return first is not None and first <= moment <= self._last_arrival


class LiveChild:
    """A stream's extraction under way."""

    def __init__(
        self,
        nursery: Nursery,
        child: Child,
        writer: asyncio.StreamWriter,
        patience: Patience,
        ledger: Ledger,
    ) -> None:
        self._nursery = nursery
        self._child = child
        self._writer = writer
        self._patience = patience
        self._ledger = ledger
        self._takes_more = True
        self._owes_since: float | None = None
        self._listens_since: float | None = None
        self._is_stalled = False

    async def send(self, piece: LivePiece) -> None:
        """Hand over the next media; waits while those before are not taken.

        Nothing happens once the child takes no more: `extracts` tells why.
        """
        self._ledger.note_sent(piece)
        await self._write(encode_piece(piece))

    async def end(self) -> None:
        """Say that no more media will come; what is there is worked off."""
        self._ledger.note_end()
        await self._write([END])

    async def extracts(self) -> AsyncIterator[LiveExtract]:
        """What becomes of the media, until ClipClosed; to be read at once and all the time.

        Raises: DecoderCrashed, DecoderTimedOut, DecoderKilled, and what the child reports.
        """
        while True:
            message = await self._read()
            if not self._ledger.admit(message):
                raise DecoderCrashed("The decoder process sent messages out of order")
            self._owes_since = None if self._ledger.is_square else time.monotonic()
            if not isinstance(message, Dry):
                yield message
            if isinstance(message, ClipClosed):
                return

    async def watch(self) -> None:
        """Kill a child that says nothing while media wait and it is listened to."""
        patience = self._patience.stall_seconds
        while not self._is_stalled:
            await asyncio.sleep(min(1.0, patience / 4))
            if self._owes_since is not None and self._listens_since is not None:
                silent = time.monotonic() - max(self._owes_since, self._listens_since)
                self._is_stalled = silent > patience
        self._child.kill()

    async def _write(self, parts: Sequence[bytes]) -> None:
        if not self._takes_more:
            return
        if self._owes_since is None and not self._ledger.is_square:
            self._owes_since = time.monotonic()
        try:
            self._writer.writelines(parts)
            await self._writer.drain()
        except ConnectionError:  # its last message says why, or its end does
            self._takes_more = False

    async def _read(self) -> LiveMessage:
        self._listens_since = time.monotonic()
        try:
            parts = await read_parts(self._child.messages, self._ledger.most_frames)
        except asyncio.IncompleteReadError as error:
            raise await self._reason_of_end() from error
        finally:
            self._listens_since = None
        return live_wire.decode(*parts)

    async def _reason_of_end(self) -> Exception:
        if self._is_stalled:
            return DecoderTimedOut()
        reason = await reason_of_end(self._child, cpu_seconds=self._patience.cpu_seconds)
        if isinstance(reason, DecoderCrashed):
            self._nursery.renew()
        return reason
