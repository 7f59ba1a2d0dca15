"""Model runtime: one process that has imported PyTorch and forks the model processes of a Triton.

    python model_runtime.py TRITONSERVER [ARGUMENT ...]

starts the runtime and becomes the server. For each model that is loaded, the runtime forks a
process, which shares the pages of PyTorch with the others. It ends when Triton's own process of
that model does; all end with the server, and that the runtime is gone ends all models.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from model_channel import RUNTIME_VARIABLE, open_channel

_SERVE = "--serve"
_CHANNEL_DESCRIPTORS = 4
_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_TRIM_THRESHOLD_BYTES = 1 << 28
_LARGEST_HEAP_BYTES = (1 << 30, 1 << 25)
"""Largest allocation from the heap; glibc before 2.35 refuses the first."""


def main(arguments: list[str]) -> None:
    """Start runtime and server, or be the runtime."""
    if arguments[0] == _SERVE:
        serve_channels(int(arguments[1]), int(arguments[2]))
    else:
        launch(arguments)


def launch(command: list[str]) -> NoReturn:
    """Start the runtime as a child process, then replace this one by the server."""
    runtime, server = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    descriptor = runtime.fileno()
    subprocess.Popen(
        [sys.executable, __file__, _SERVE, str(descriptor), str(os.getpid())],
        pass_fds=[descriptor],
    )
    runtime.close()
    server.set_inheritable(True)
    os.environ[RUNTIME_VARIABLE] = str(server.fileno())
    # Python ignores it, and the server would inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execv(command[0], command)  # noqa: S606 - becomes the server, whose command is given


def serve_channels(descriptor: int, server_pid: int) -> None:
    """Fork a model process for each channel that arrives at a socket."""
    exit_with_parent(server_pid)
    # Sent to all processes of a terminal or a service; these end with the server.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # The kernel reaps model processes.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    keep_freed_memory()
    from torch_model import serve_model  # PyTorch, in the runtime alone

    gc.collect()
    # Pages of what is imported stay shared: the collector does not write to them.
    gc.freeze()
    runtime_pid = os.getpid()
    with socket.socket(fileno=descriptor) as runtime:
        while descriptors := socket.recv_fds(runtime, 64, _CHANNEL_DESCRIPTORS)[1]:
            if os.fork() == 0:
                runtime.close()
                exit_with_parent(runtime_pid)
                run_to_the_end(lambda: serve_model(open_channel(descriptors)))
            for each in descriptors:
                os.close(each)


def run_to_the_end(serve: Callable[[], None]) -> NoReturn:
    """Run what a forked process is for; it never returns into what its parent does."""
    try:
        serve()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def keep_freed_memory() -> None:
    """Have the allocator keep the memory of freed tensors for the next ones.

    It would give each back to the kernel, and faulting in new pages is a third of a model's time.
    """
    libc = ctypes.CDLL(None)
    any(libc.mallopt(_M_MMAP_THRESHOLD, size) for size in _LARGEST_HEAP_BYTES)
    libc.mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES)


def exit_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends, even one that nobody reaps."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
