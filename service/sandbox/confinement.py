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

from service.sandbox.landlock import close_files
from service.sandbox.limits import die_with_parent, limit_use
from service.sandbox.network import leave_network
from service.sandbox.privileges import (
    drop_capabilities,
    drop_user,
    forbid_new_privileges,
    hide_memory,
    is_privileged,
)
from service.sandbox.seccomp import CallFilter
from service.sandbox.syscalls import rules

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
        self.lacking: dict[str, str] = {}
        self._parent_pid = os.getpid()
        self._layers: dict[str, Callable[[], None]] = {LANDLOCK: close_files}
        if is_privileged():
            self._layers[USER] = drop_user
        self._try(NETWORK, leave_network)
        self._try(SECCOMP, self._prepare_filter)
        self.lacking |= self._try_on()
        for layer in self.lacking:
            self._layers.pop(layer, None)

    def enter(self, *, memory_bytes: int, cpu_seconds: int) -> None:
        """Confine this process, a child, from here on.

        Args: as in `limit_use`.
        Raises: OSError: a layer that this machine has cannot be put on.
        """
        limit_use(memory_bytes=memory_bytes, cpu_seconds=cpu_seconds)
        self._put_on(USER)
        drop_capabilities()
        forbid_new_privileges()
        hide_memory()
        die_with_parent(self._parent_pid)  # changing the user had undone it
        self._put_on(LANDLOCK)
        self._put_on(SECCOMP)

    def _put_on(self, layer: str) -> None:
        if layer in self._layers:
            self._layers[layer]()

    def _prepare_filter(self) -> None:
        filter_ = CallFilter()
        self._layers[SECCOMP] = lambda: filter_.restrict(rules(os.getpid()))

    def _try(self, layer: str, step: Callable[[], None]) -> None:
        try:
            step()
        except OSError as error:
            self.lacking[layer] = str(error)

    def _try_on(self) -> dict[str, str]:
        """Put every layer on a process that then ends; what it could not put on, and why."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            self.lacking.clear()
            forbid_new_privileges()
            for layer in (USER, LANDLOCK, SECCOMP):
                self._try(layer, partial(self._put_on, layer))
            os.write(writing, json.dumps(self.lacking).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read()
        os.waitpid(pid, 0)
        return json.loads(said)
