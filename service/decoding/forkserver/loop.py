"""The inside of a nursery: a process of one thread that forks a child for each clip.

    owner ── door: request + handles ──▶ nursery ── fork ──▶ child ── messages, complaints ──▶ owner
      └───────────── lifeline: cut by the owner: kill; the child's end ◀──┘

It never touches a clip's bytes. A cut lifeline kills the child at its other end; a closed door
ends the nursery once its last child has ended. Whoever dies takes the next ones along.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Final, NoReturn

from service.decoding.sandbox.resource_limits import die_with_parent

MAX_REQUEST_BYTES: Final = 1 << 15
MAX_HANDLES: Final = 16
STANDARD_HANDLES: Final = 3

ChildTask = Callable[[bytes, int, Sequence[int]], None]
"""What a child does: with the request, the pipe for its messages, and the request's files."""


def take_control_socket() -> socket.socket:
    """The door that the owner has put on standard input, which is then empty."""
    control_socket = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a handle is all that is wanted
        os.dup2(nothing.fileno(), 0)
    return control_socket


def report_ready(control_socket: socket.socket, **facts: object) -> None:
    """Tell the owner that everything is loaded, or with `code` and `detail` why it cannot be.

    Args: facts: to be known of this process; `lacking`: layers of the sandbox, and why.
    """
    control_socket.send(json.dumps(facts).encode())


def serve(control_socket: socket.socket, task: ChildTask) -> None:
    """Fork a child for each request, until the door is closed and the last child has ended."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the owner drains first; it ends this process
    ForkserverLoop(control_socket, task).run()


class ForkserverLoop:
    """The children under way, each with its lifeline."""

    def __init__(self, control_socket: socket.socket, task: ChildTask) -> None:
        self._control_socket = control_socket
        self._task = task
        self._is_open = True
        self._child_sockets: dict[int, socket.socket] = {}
        self._killed: set[int] = set()
        self._pid = os.getpid()

    def run(self) -> None:
        """Serve until there is nothing left to do.

        Raises: RuntimeError: other threads run here, whose locks a fork would tear.
        """
        if len(os.listdir("/proc/self/task")) != 1:  # noqa: PTH208 - the number is all
            raise RuntimeError("a nursery must have one thread only")
        wakeup_reader, wakeup_writer = socket.socketpair()
        wakeup_writer.setblocking(False)
        wakeup_reader.setblocking(False)
        signal.signal(signal.SIGCHLD, _ignore_signal)
        signal.set_wakeup_fd(wakeup_writer.fileno(), warn_on_full_buffer=False)
        with wakeup_reader, wakeup_writer:
            while self._is_open or self._child_sockets:
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
        for pid, child_socket in self._child_sockets.items():
            if pid not in self._killed:
                poll.register(child_socket, select.POLLIN)
        return {handle for handle, _ in poll.poll()}

    def _reap(self) -> None:
        while self._child_sockets:
            pid, status, used = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            self._killed.discard(pid)
            with self._child_sockets.pop(pid) as child_socket:
                _send_exit_status(
                    child_socket,
                    status=os.waitstatus_to_exitcode(status),
                    cpu_seconds=used.ru_utime + used.ru_stime,
                )

    def _kill_abandoned(self, ready: set[int]) -> None:
        """Kill the children whose lifeline was cut; nothing else is ever said on one."""
        for pid, child_socket in self._child_sockets.items():
            if child_socket.fileno() in ready:
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
            raise ValueError("a request does not fit the door")
        child_socket = socket.socket(fileno=handles[0])
        pid = os.fork()
        if pid == 0:
            self._run_child(request, handles[1:])
        self._child_sockets[pid] = child_socket
        for handle in handles[1:]:
            os.close(handle)

    def _run_child(self, request: bytes, handles: Sequence[int]) -> NoReturn:
        """Work, and end without the teardown of threads that may be in hostile media."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            die_with_parent(self._pid)
            messages, complaints, *files = handles
            os.dup2(complaints, 1)
            os.dup2(complaints, 2)
            _close_handles_except({messages, *files})
            self._task(request, messages, files)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)


def _ignore_signal(number: int, frame: FrameType | None) -> None:
    """Do nothing: a signal that has a handler rings the bell."""


def _send_exit_status(child_socket: socket.socket, **end: float) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        child_socket.send(json.dumps(end).encode())


def _close_handles_except(exceptions: set[int]) -> None:
    """Close every handle but the standard ones and these."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names are all that is wanted
        if int(name) >= STANDARD_HANDLES and int(name) not in exceptions:
            with contextlib.suppress(OSError):  # the one that listed them
                os.close(int(name))
