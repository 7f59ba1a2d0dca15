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
_STDERR_TAIL_BYTES: Final = 4096
_MAX_EXIT_STATUS_BYTES: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitStatus:
    """How a child ended.

    status: as in subprocess: a signal's number is negative; cpu_seconds: of all its threads.
    """

    status: int
    cpu_seconds: float


class ChildHandle:
    """A child under way; `ask_for` has one forked."""

    def __init__(
        self,
        messages: asyncio.StreamReader,
        stderr: asyncio.StreamReader,
        child_socket: socket.socket,
    ) -> None:
        self.messages = messages
        self._child_socket = child_socket
        self._stderr_tail = asyncio.create_task(read_tail(stderr))
        self._exit_status = asyncio.create_task(self._read_exit_status())

    async def wait(self) -> ExitStatus | None:
        """Wait for its end; None where the nursery ended first, and the child with it."""
        return await asyncio.shield(self._exit_status)

    async def read_stderr_tail(self) -> str:
        """The last of what it wrote to standard error; waits until that is closed."""
        return (await asyncio.shield(self._stderr_tail)).decode(errors="replace")

    def kill(self) -> None:
        """Have it killed if it lives."""
        with contextlib.suppress(OSError):  # the nursery has gone already
            self._child_socket.shutdown(socket.SHUT_WR)

    async def kill_and_wait(self, timeout_seconds: float) -> bool:
        """Kill it if it lives, and wait; False: nobody said in time that it is gone."""
        self.kill()
        ended, _ = await asyncio.wait({self._exit_status}, timeout=timeout_seconds)
        return bool(ended)

    def close(self) -> None:
        """Listen no more; the pipes and the lifeline are closed by who opened them."""
        self._stderr_tail.cancel()
        self._exit_status.cancel()

    async def _read_exit_status(self) -> ExitStatus | None:
        try:
            message = await asyncio.get_running_loop().sock_recv(
                self._child_socket, _MAX_EXIT_STATUS_BYTES
            )
        except ConnectionResetError:
            return None
        return ExitStatus(**json.loads(message)) if message else None


async def request_child(
    control_socket: socket.socket, request: bytes, files: Sequence[int], resources: ExitStack
) -> ChildHandle:
    """Ask the nursery behind a door for a child with these files.

    Args: kept: closes what is held for the child, when it has ended.
    Raises: OSError: nobody takes requests at this door.
    """
    child_socket, remote_socket = socket.socketpair()
    resources.enter_context(child_socket)
    child_socket.setblocking(False)
    with ExitStack() as child_ends:
        child_ends.enter_context(remote_socket)
        messages_reader, messages_writer = _open_pipe(resources, child_ends)
        stderr_reader, stderr_writer = _open_pipe(resources, child_ends)
        child = ChildHandle(
            await _open_reader(messages_reader, resources),
            await _open_reader(stderr_reader, resources),
            child_socket,
        )
        resources.callback(child.close)
        socket.send_fds(
            control_socket,
            [request],
            [remote_socket.fileno(), messages_writer, stderr_writer, *files],
        )
    return child


def _open_pipe(parent_ends: ExitStack, child_ends: ExitStack) -> tuple[BinaryIO, int]:
    reading, writing = os.pipe()
    child_ends.callback(os.close, writing)
    return parent_ends.enter_context(os.fdopen(reading, "rb", buffering=0)), writing


async def _open_reader(pipe: BinaryIO, resources: ExitStack) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=READ_AHEAD_BYTES)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    resources.callback(transport.close)
    return reader


async def read_tail(reader: asyncio.StreamReader) -> bytes:
    """Read to the end; the last few kilobytes."""
    tail = b""
    while read := await reader.read(READ_AHEAD_BYTES):
        tail = (tail + read)[-_STDERR_TAIL_BYTES:]
    return tail
