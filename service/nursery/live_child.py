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

from service.domain.clip import ClipClosed
from service.domain.live import LiveExtract, LivePiece, Snapshot
from service.errors import DecoderCrashed, DecoderTimedOut
from service.nursery import live_wire
from service.nursery.child import Patience, read_parts, reason_of_end
from service.nursery.ledger import Ledger
from service.nursery.lifeline import Child
from service.nursery.live_wire import Dry, LiveMessage
from service.nursery.nursery import Nursery
from service.nursery.pieces import END, encode_piece, encode_state

_MAX_UNSENT_BYTES: Final = 1 << 16
"""Beyond what the pipe holds."""


@contextlib.asynccontextmanager
async def run_live_child(
    nursery: Nursery,
    request: bytes,
    patience: Patience,
    ledger: Ledger,
    snapshot: bytes | None = None,
) -> AsyncGenerator[LiveChild]:
    """Have a child work on media as they are sent; kill and reap it on leaving.

    Args: ledger: a new one; snapshot: the state of a Snapshot, to go on from.
    Raises: DecoderKilled, FaceModelsMissing, StreamGone: the state is of another version.
    """
    state = None if snapshot is None else ledger.unseal(snapshot)
    reading, writing = os.pipe()
    with contextlib.ExitStack() as held:
        lent = held.enter_context(os.fdopen(reading, "rb", buffering=0))
        pipe = held.enter_context(os.fdopen(writing, "wb", buffering=0))
        async with nursery.child(request, [reading]) as child:
            lent.close()  # when the child has gone, nobody reads
            writer = await _open_writer(pipe)
            live = LiveChild(nursery, child, writer, patience, ledger)
            watching = asyncio.create_task(live.watch())
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

    async def restore(self, state: bytes) -> None:
        """Hand over, before all media, the state of a snapshot that the ledger has unsealed."""
        await self._write(encode_state(state))

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
            if isinstance(message, Snapshot):
                yield self._ledger.seal(message)
            elif not isinstance(message, Dry):
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
            await asyncio.sleep(0)  # who sends on and on lets others work
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
            parts = await read_parts(self._child.messages, self._ledger.max_frames)
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
