"""Landlock: no file can be opened, made or removed any more, by the kernel's own say.

Needs Linux 5.13 with Landlock enabled, no library. From 6.7 on it closes TCP too, from 6.12 on
signals to other processes and abstract sockets.
Source: the kernel's Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

from service.decoding.sandbox.libc import call_libc

_CREATE_RULESET: Final = 444
_RESTRICT_SELF: Final = 446
"""System call numbers, the same on every architecture."""
_GET_VERSION_FLAG: Final = 1
_RIGHTS_BY_VERSION: Final = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many rights to files each version knows."""
_MAX_RIGHTS: Final = 16
_TCP_VERSION: Final = 4
_TCP_RIGHTS: Final = 0b11
_SCOPE_VERSION: Final = 6
_SCOPES: Final = 0b11


def deny_file_access() -> None:
    """Take from this process every right that Landlock knows; open handles stay.

    Raises: OSError: the kernel has no Landlock, or it is switched off.
    """
    version = call_libc("syscall", _CREATE_RULESET, None, ctypes.c_size_t(0), _GET_VERSION_FLAG)
    rights = (1 << _RIGHTS_BY_VERSION.get(version, _MAX_RIGHTS)) - 1
    handled = [rights]
    if version >= _TCP_VERSION:
        handled.append(_TCP_RIGHTS)
    if version >= _SCOPE_VERSION:
        handled.append(_SCOPES)
    ruleset = (ctypes.c_uint64 * len(handled))(*handled)
    size = ctypes.c_size_t(ctypes.sizeof(ruleset))
    handle = call_libc("syscall", _CREATE_RULESET, ruleset, size, 0)
    try:
        call_libc("syscall", _RESTRICT_SELF, handle, 0)
    finally:
        os.close(handle)
