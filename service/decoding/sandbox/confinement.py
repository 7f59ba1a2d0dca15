"""Every layer around a decode child, in the order in which it puts them on.

    network namespace (of the nursery) ▶ limits ▶ user ▶ capabilities ▶ no new privileges
        ▶ memory hidden ▶ dies with its parent ▶ Landlock ▶ seccomp

Limits, privileges and the parent's death work everywhere and are a must. Which of the others a
machine has is tried once, in a process that ends; a child that then lacks one does not start.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from typing import Final

from service.decoding.sandbox.landlock import deny_file_access
from service.decoding.sandbox.network_namespace import enter_empty_network_namespace
from service.decoding.sandbox.privileges import (
    drop_capabilities,
    drop_user,
    forbid_memory_access,
    forbid_new_privileges,
    is_privileged,
)
from service.decoding.sandbox.resource_limits import die_with_parent, limit_resources
from service.decoding.sandbox.seccomp import SyscallFilter
from service.decoding.sandbox.syscall_rules import build_syscall_rules

NETWORK: Final = "network namespace"
USER: Final = "user"
LANDLOCK: Final = "landlock"
SECCOMP: Final = "seccomp"


class Confinement:
    """What children of this process are confined by.

    lacking: layers that this machine does not have, and why.
    """

    def __init__(self) -> None:
        """Leave the network, and find out what else this machine has; needs a single thread."""
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
        """Confine this process, a child, from here on.

        Args: as in `limit_use`.
        Raises: OSError: a layer that this machine has cannot be put on.
        """
        limit_resources(memory_bytes=memory_bytes, cpu_seconds=cpu_seconds)
        self._apply(USER)
        drop_capabilities()
        forbid_new_privileges()
        forbid_memory_access()
        die_with_parent(self._parent_pid)  # changing the user had undone it
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
        """Put every layer on a process that then ends; what it could not put on, and why."""
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
        return json.loads(message)
