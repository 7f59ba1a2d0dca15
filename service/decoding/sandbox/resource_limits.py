"""What a process may use of its machine, and that it does not outlive its parent."""

from __future__ import annotations

import math
import os
import resource
import signal
import time
from pathlib import Path
from typing import Final

from service.decoding.sandbox.libc import PARENT_DEATH_SIGNAL, prctl

MAX_OPEN_FILES: Final = 64
CPU_GRACE_SECONDS: Final = 5
"""Processor time between SIGXCPU and SIGKILL."""


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when the one that started it is gone (Linux)."""
    prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it went away before the kernel was asked
        os.kill(os.getpid(), signal.SIGKILL)


def limit_resources(*, memory_bytes: int, cpu_seconds: int) -> None:
    """Limit this process from here on: no files written, no core, few handles, memory and time.

    Args: memory_bytes: address space beyond what is mapped now; cpu_seconds: processor time of
        all threads beyond what is used now; SIGXCPU ends the process that takes more.
    """
    _set_limit(
        resource.RLIMIT_CPU, math.ceil(time.process_time()) + cpu_seconds, grace=CPU_GRACE_SECONDS
    )
    _set_limit(resource.RLIMIT_AS, _read_mapped_bytes() + memory_bytes)
    _set_limit(resource.RLIMIT_FSIZE, 0)
    _set_limit(resource.RLIMIT_CORE, 0)
    _set_limit(resource.RLIMIT_NOFILE, MAX_OPEN_FILES)


def _set_limit(kind: int, soft_limit: int, grace: int = 0) -> None:
    """Set a limit, and `grace` above it the one that even a handler of the signal cannot pass."""
    hard = resource.getrlimit(kind)[1]
    soft, top = (
        wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        for wanted in (soft_limit, soft_limit + grace)
    )
    resource.setrlimit(kind, (soft, top))


def _read_mapped_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
