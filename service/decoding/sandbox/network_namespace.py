"""A process without a network: not even the loopback interface of its machine is there."""

from __future__ import annotations

from typing import Final

from service.decoding.sandbox.libc import call_libc
from service.decoding.sandbox.privileges import is_privileged

_NEW_IPC: Final = 0x08000000
_NEW_USER: Final = 0x10000000
_NEW_NETWORK: Final = 0x40000000


def enter_empty_network_namespace() -> None:
    """Move this process, which has one thread, to an empty network namespace.

    A privileged one that may not do it does not take the unprivileged way, a user namespace:
    it could change its user no more.

    Raises: OSError: this is not allowed here.
    """
    own_user = 0 if is_privileged() else _NEW_USER
    call_libc("unshare", own_user | _NEW_NETWORK | _NEW_IPC)
