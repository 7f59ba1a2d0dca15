"""Parent's side of a decode process: two pipes to read, and a socket that ends the process.

    parent ── control socket: request + handles ──▶ forkserver ── fork ──▶ decode process
    parent ◀── pipes: messages, standard error ── decode process
    parent ── exit socket: shut down means kill; WorkerStarted, ExitStatus ◀── forkserver

Closing the parent's ends, whatever the reason, ends the decode process too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import BinaryIO, Final

from service.decoding.forkserver.message_pipe import MessagePipe, enlarge_pipe
from service.decoding.requests import ExitStatus, WorkerStarted
from service.serialization import decode

READ_AHEAD_BYTES: Final = 1 << 18
"""Limit of buffered unread bytes of standard error."""
_STDERR_TAIL_BYTES: Final = 4096
_MAX_EXIT_STATUS_BYTES: Final = 512
_CLOCK_OF_PROCESS: Final = 2
"""Linux's clock of a process's CPU time has the number `~pid << 3 | 2`: clock_getcpuclockid(3)."""


class WorkerProcess:
    """Handle of a running decode process; `spawn_worker` creates it."""

    def __init__(
        self,
        messages: MessagePipe,
        stderr: asyncio.StreamReader,
        exit_socket: socket.socket,
    ) -> None:
        self.messages = messages
        self._exit_socket = exit_socket
        self._pid: int | None = None
        self._stderr_tail = asyncio.create_task(read_tail(stderr))
        self._exit_status = asyncio.create_task(self._read_exit_status())

    async def wait(self) -> ExitStatus | None:
        """Wait for its end; None: the forkserver ended first, and the process with it."""
        return await asyncio.shield(self._exit_status)

    async def read_stderr_tail(self) -> str:
        """Read the last 4 KiB of its standard error; waits until that is closed."""
        return (await asyncio.shield(self._stderr_tail)).decode(errors="replace")

    def kill(self) -> None:
        """Have the forkserver kill it if it is alive."""
        with contextlib.suppress(OSError):  # the forkserver has ended already
            self._exit_socket.shutdown(socket.SHUT_WR)

    async def kill_and_wait(self, timeout_seconds: float) -> bool:
        """Kill it and wait for its end; False: the end was not reported in time."""
        self.kill()
        ended, _ = await asyncio.wait({self._exit_status}, timeout=timeout_seconds)
        return bool(ended)

    def close(self) -> None:
        """Stop reading; the pipes and the socket are closed by the stack that opened them."""
        self._stderr_tail.cancel()
        self._exit_status.cancel()

    def cpu_seconds(self) -> float | None:
        """Return the processor time of its threads so far; None: it has not begun, or has ended."""
        if self._pid is None or self._exit_status.done():
            return None
        try:
            return time.clock_gettime(~self._pid << 3 | _CLOCK_OF_PROCESS)
        except OSError:  # it has been reaped
            return None

    async def _read_exit_status(self) -> ExitStatus | None:
        loop = asyncio.get_running_loop()
        try:
            started = await loop.sock_recv(self._exit_socket, _MAX_EXIT_STATUS_BYTES)
            if not started:
                return None
            self._pid = decode(started, WorkerStarted).pid
            message = await loop.sock_recv(self._exit_socket, _MAX_EXIT_STATUS_BYTES)
        except ConnectionResetError:
            return None
        return decode(message, ExitStatus) if message else None


async def spawn_worker(
    control_socket: socket.socket, request: bytes, files: Sequence[int], resources: ExitStack
) -> WorkerProcess:
    """Have a forkserver fork a decode process with these files.

    Args: resources: closes what the process holds here, once it has ended.
    Raises: OSError: no forkserver reads this control socket.
    """
    exit_socket, remote_socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    resources.enter_context(exit_socket)
    exit_socket.setblocking(False)
    with ExitStack() as remote_ends:
        remote_ends.enter_context(remote_socket)
        messages_reader, messages_writer = _open_pipe(resources, remote_ends)
        stderr_reader, stderr_writer = _open_pipe(resources, remote_ends)
        enlarge_pipe(messages_reader)
        messages = MessagePipe(messages_reader)
        resources.callback(messages.close)
        process = WorkerProcess(
            messages,
            await _open_reader(stderr_reader, resources),
            exit_socket,
        )
        resources.callback(process.close)
        socket.send_fds(
            control_socket,
            [request],
            [remote_socket.fileno(), messages_writer, stderr_writer, *files],
        )
    return process


def _open_pipe(local_ends: ExitStack, remote_ends: ExitStack) -> tuple[BinaryIO, int]:
    reading, writing = os.pipe()
    remote_ends.callback(os.close, writing)
    return local_ends.enter_context(os.fdopen(reading, "rb", buffering=0)), writing


async def _open_reader(pipe: BinaryIO, resources: ExitStack) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=READ_AHEAD_BYTES)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    resources.callback(transport.close)
    return reader


async def read_tail(reader: asyncio.StreamReader) -> bytes:
    """Read to the end; returns the last 4 KiB."""
    tail = b""
    while read := await reader.read(READ_AHEAD_BYTES):
        tail = (tail + read)[-_STDERR_TAIL_BYTES:]
    return tail
