"""A decode child that passes over SIGXCPU, so that the kernel kills it."""

from __future__ import annotations

import resource
import signal

if __name__ == "__main__":
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CPU, (1, 2))
    while True:
        pass
