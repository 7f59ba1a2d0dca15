"""What ties an owner to one decode child: two pipes to listen to, and a lifeline to cut."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO, Final

READ_AHEAD_BYTES: Final = 1 << 18
_KEPT_COMPLAINT_BYTES: Final = 4096
_MAX_END_BYTES: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a child ended.

    status: as in subprocess: a signal's number is negative; cpu_seconds: of all its threads.
    """

    status: int
    cpu_seconds: float


class Child:
    """A child under way; `ask_for` has one forked."""

    def __init__(
        self, messages: asyncio.StreamReader, complaints: asyncio.StreamReader, life: socket.socket
    ) -> None:
        self.messages = messages
        self._lifeline = life
        self._complaints = asyncio.create_task(keep_tail(complaints))
        self._end = asyncio.create_task(self._read_end())

    async def end(self) -> End | None:
        """Wait for its end; None where the nursery ended first, and the child with it."""
        return await asyncio.shield(self._end)

    async def complaints(self) -> str:
        """The last of what it wrote to standard error; waits until that is closed."""
        return (await asyncio.shield(self._complaints)).decode(errors="replace")

    def kill(self) -> None:
        """Have it killed if it lives."""
        with contextlib.suppress(OSError):  # the nursery has gone already
            self._lifeline.shutdown(socket.SHUT_WR)

    async def leave(self, patience_seconds: float) -> bool:
        """Kill it if it lives, and wait; False: nobody said in time that it is gone."""
        self.kill()
        ended, _ = await asyncio.wait({self._end}, timeout=patience_seconds)
        return bool(ended)

    def close(self) -> None:
        """Listen no more; the pipes and the lifeline are closed by who opened them."""
        self._complaints.cancel()
        self._end.cancel()

    async def _read_end(self) -> End | None:
        try:
            said = await asyncio.get_running_loop().sock_recv(self._lifeline, _MAX_END_BYTES)
        except ConnectionResetError:
            return None
        return End(**json.loads(said)) if said else None


async def ask_for(
    door: socket.socket, request: bytes, files: Sequence[int], kept: ExitStack
) -> Child:
    """Ask the nursery behind a door for a child with these files.

    Args: kept: closes what is held for the child, when it has ended.
    Raises: OSError: nobody takes requests at this door.
    """
    life, theirs = socket.socketpair()
    kept.enter_context(life)
    life.setblocking(False)
    with ExitStack() as sent:
        sent.enter_context(theirs)
        messages, told = _open_pipe(kept, sent)
        complaints, complained = _open_pipe(kept, sent)
        child = Child(await _listen(messages, kept), await _listen(complaints, kept), life)
        kept.callback(child.close)
        socket.send_fds(door, [request], [theirs.fileno(), told, complained, *files])
    return child


def _open_pipe(kept: ExitStack, sent: ExitStack) -> tuple[BinaryIO, int]:
    reading, writing = os.pipe()
    sent.callback(os.close, writing)
    return kept.enter_context(os.fdopen(reading, "rb", buffering=0)), writing


async def _listen(pipe: BinaryIO, kept: ExitStack) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=READ_AHEAD_BYTES)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    kept.callback(transport.close)
    return reader


async def keep_tail(reader: asyncio.StreamReader) -> bytes:
    """Read to the end; the last few kilobytes."""
    tail = b""
    while read := await reader.read(READ_AHEAD_BYTES):
        tail = (tail + read)[-_KEPT_COMPLAINT_BYTES:]
    return tail
