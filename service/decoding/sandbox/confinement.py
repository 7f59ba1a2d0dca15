"""Confinement of a decode process: the layers of its sandbox, in the order of their application.

    network namespace (of the forkserver) ▶ limits ▶ user ▶ capabilities ▶ no new privileges
        ▶ memory access ▶ dies with its parent ▶ Landlock ▶ seccomp

Limits, privileges and the death signal work everywhere and are required. The others are probed
once, in a process that ends; a decode process that then lacks one does not start.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from typing import Final

from service.decoding.sandbox.restrictions import (
    deny_file_access,
    die_with_parent,
    drop_capabilities,
    drop_user,
    enter_empty_network_namespace,
    forbid_memory_access,
    forbid_new_privileges,
    is_privileged,
    limit_resources,
)
from service.decoding.sandbox.seccomp import SyscallFilter, build_syscall_rules

NETWORK: Final = "network namespace"
USER: Final = "user"
LANDLOCK: Final = "landlock"
SECCOMP: Final = "seccomp"


class Confinement:
    """The layers of this machine, for processes that are forked from this one.

    missing_layers: layers that this machine does not have, and why.
    """

    def __init__(self) -> None:
        """Leave the network, and probe the other layers; needs a single thread."""
        self.missing_layers: dict[str, str] = {}
        self._parent_pid = os.getpid()
        self._layers: dict[str, Callable[[], None]] = {LANDLOCK: deny_file_access}
        if is_privileged():
            self._layers[USER] = drop_user
        self._attempt(NETWORK, enter_empty_network_namespace)
        self._attempt(SECCOMP, self._prepare_filter)
        self.missing_layers |= self._probe_layers()
        for layer in self.missing_layers:
            self._layers.pop(layer, None)

    def enter(self, *, memory_bytes: int, cpu_seconds: int) -> None:
        """Confine this process, a forked one, until it ends.

        Args: as in `limit_resources`.
        Raises: OSError: a layer that this machine has cannot be applied.
        """
        limit_resources(memory_bytes=memory_bytes, cpu_seconds=cpu_seconds)
        self._apply(USER)
        drop_capabilities()
        forbid_new_privileges()
        forbid_memory_access()
        die_with_parent(self._parent_pid)  # changing the user has cleared it
        self._apply(LANDLOCK)
        self._apply(SECCOMP)

    def _apply(self, layer: str) -> None:
        if layer in self._layers:
            self._layers[layer]()

    def _prepare_filter(self) -> None:
        filter_ = SyscallFilter()
        self._layers[SECCOMP] = lambda: filter_.restrict(build_syscall_rules(os.getpid()))

    def _attempt(self, layer: str, step: Callable[[], None]) -> None:
        try:
            step()
        except OSError as error:
            self.missing_layers[layer] = str(error)

    def _probe_layers(self) -> dict[str, str]:
        """Apply every layer in a process that then ends; returns those that failed, and why."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            self.missing_layers.clear()
            forbid_new_privileges()
            for layer in (USER, LANDLOCK, SECCOMP):
                self._attempt(layer, partial(self._apply, layer))
            os.write(writing, json.dumps(self.missing_layers).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            message = pipe.read()
        os.waitpid(pid, 0)
        return json.loads(message)  # not msgpack: importing numpy may start threads
