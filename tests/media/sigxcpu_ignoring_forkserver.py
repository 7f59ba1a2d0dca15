"""A forkserver whose workers ignore SIGXCPU, so that the kernel kills them."""

from __future__ import annotations

import resource
import signal
from collections.abc import Sequence

from service.decoding.forkserver import loop
from service.decoding.requests import ForkserverReady


def ignore_cpu_limit(request: bytes, messages: int, files: Sequence[int]) -> None:
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CPU, (1, 2))
    while True:
        pass


if __name__ == "__main__":
    control_socket = loop.take_control_socket()
    loop.report_ready(control_socket, ForkserverReady())
    loop.serve(control_socket, ignore_cpu_limit)
