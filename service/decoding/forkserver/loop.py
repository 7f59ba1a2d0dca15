"""The main loop of a forkserver: a process of one thread that forks a process for each request.

    parent ── control socket: request + handles ──▶ forkserver ── fork ──▶ decode process
      └─── exit socket: shut down by the parent: kill; WorkerStarted, ExitStatus ◀──┘

The forkserver never reads a byte of the media. Shutting down an exit socket kills its decode
process; closing the control socket ends the forkserver once its last decode process has ended. The
kernel kills each process when its parent ends.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Final, NoReturn

from service.decoding.requests import ExitStatus, ForkserverReady, WorkerStarted
from service.decoding.sandbox.restrictions import die_with_parent
from service.serialization import encode

MAX_REQUEST_BYTES: Final = 1 << 15
MAX_HANDLES: Final = 16
STANDARD_HANDLES: Final = 3
"""Standard input, output and error."""

WorkerTask = Callable[[bytes, int, Sequence[int]], None]
"""Runs in a decode process: takes the request, the pipe for its messages, the request's files."""


def take_control_socket() -> socket.socket:
    """Take the control socket from standard input, which is then connected to /dev/null."""
    control_socket = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - only a handle is needed
        os.dup2(nothing.fileno(), 0)
    return control_socket


def receive_config(control_socket: socket.socket) -> bytes:
    """Receive the parent's first message."""
    return control_socket.recv(MAX_REQUEST_BYTES)


def report_ready(control_socket: socket.socket, ready: ForkserverReady) -> None:
    """Report to the parent that everything is loaded, or why it cannot be."""
    control_socket.send(encode(ready))


def serve(control_socket: socket.socket, task: WorkerTask) -> None:
    """Fork a process for each request, until the socket is closed and the last one has ended."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the parent drains first; it ends this process
    ForkserverLoop(control_socket, task).run()


class ForkserverLoop:
    """Main loop: the running decode processes, each with its exit socket."""

    def __init__(self, control_socket: socket.socket, task: WorkerTask) -> None:
        self._control_socket = control_socket
        self._task = task
        self._is_open = True
        self._exit_sockets: dict[int, socket.socket] = {}
        self._killed: set[int] = set()
        self._pid = os.getpid()

    def run(self) -> None:
        """Serve until the control socket is closed and no decode process is left.

        Raises: RuntimeError: there are other threads, whose locks a fork would leave locked.
        """
        if len(os.listdir("/proc/self/task")) != 1:  # noqa: PTH208 - only the number is needed
            raise RuntimeError("a forkserver must have one thread only")
        wakeup_reader, wakeup_writer = socket.socketpair()
        wakeup_writer.setblocking(False)
        wakeup_reader.setblocking(False)
        signal.signal(signal.SIGCHLD, _ignore_signal)
        signal.set_wakeup_fd(wakeup_writer.fileno(), warn_on_full_buffer=False)
        with wakeup_reader, wakeup_writer:
            while self._is_open or self._exit_sockets:
                ready = self._wait(wakeup_reader.fileno())
                if wakeup_reader.fileno() in ready:
                    wakeup_reader.recv(1 << 12)
                    self._reap()
                self._kill_abandoned(ready)
                if self._is_open and self._control_socket.fileno() in ready:
                    self._handle_request()

    def _wait(self, wakeup_handle: int) -> set[int]:
        poll = select.poll()
        poll.register(wakeup_handle, select.POLLIN)
        if self._is_open:
            poll.register(self._control_socket, select.POLLIN)
        for pid, exit_socket in self._exit_sockets.items():
            if pid not in self._killed:
                poll.register(exit_socket, select.POLLIN)
        return {handle for handle, _ in poll.poll()}

    def _reap(self) -> None:
        while self._exit_sockets:
            pid, status, used = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            self._killed.discard(pid)
            exit_status = ExitStatus(
                status=os.waitstatus_to_exitcode(status),
                cpu_seconds=used.ru_utime + used.ru_stime,
            )
            with (
                self._exit_sockets.pop(pid) as exit_socket,
                contextlib.suppress(BrokenPipeError, ConnectionResetError),
            ):
                exit_socket.send(encode(exit_status))

    def _kill_abandoned(self, ready: set[int]) -> None:
        """Kill the processes whose exit socket was shut down; nothing is ever sent on one."""
        for pid, exit_socket in self._exit_sockets.items():
            if exit_socket.fileno() in ready:
                os.kill(pid, signal.SIGKILL)
                self._killed.add(pid)

    def _handle_request(self) -> None:
        request, handles, flags, _ = socket.recv_fds(
            self._control_socket, MAX_REQUEST_BYTES, MAX_HANDLES
        )
        if not request:
            self._is_open = False
            return
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise ValueError("a request is too long for the control socket")
        exit_socket = socket.socket(fileno=handles[0])
        pid = os.fork()
        if pid == 0:
            self._run_worker(request, handles[1:])
        self._exit_sockets[pid] = exit_socket
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            exit_socket.send(encode(WorkerStarted(pid=pid)))
        for handle in handles[1:]:
            os.close(handle)

    def _run_worker(self, request: bytes, handles: Sequence[int]) -> NoReturn:
        """Run the task, and exit without tearing down threads that may be in hostile media."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            die_with_parent(self._pid)
            os.setsid()  # where the kernel weighs sessions, each process counts, not all as one
            messages, stderr, *files = handles
            os.dup2(stderr, 1)
            os.dup2(stderr, 2)
            _close_handles_except({messages, *files})
            self._task(request, messages, files)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)


def _ignore_signal(number: int, frame: FrameType | None) -> None:
    """Do nothing: a signal that has a handler writes to the wakeup handle."""


def _close_handles_except(exceptions: set[int]) -> None:
    """Close every handle but the standard ones and these."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - only names are needed
        if int(name) >= STANDARD_HANDLES and int(name) not in exceptions:
            with contextlib.suppress(OSError):  # the one that listed them
                os.close(int(name))
