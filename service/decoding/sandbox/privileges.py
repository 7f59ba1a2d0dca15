"""What a process may do by who it is: user, capabilities, and what it could gain by exec."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

from service.decoding.sandbox.libc import DUMPABLE, NO_NEW_PRIVILEGES, call_libc, prctl

UNPRIVILEGED_ID: Final = 65_534
"""The user and group that own nothing: `nobody` and `nogroup`, by name or not."""
CAP_KILL: Final = 5
CAP_SETGID: Final = 6
CAP_SETUID: Final = 7
_CAPABILITY_VERSION: Final = 0x20080522


def has_capabilities(*numbers: int) -> bool:
    """Whether all of these are in effect."""
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    return all(effective >> number & 1 for number in numbers)


def is_privileged() -> bool:
    """Whether this process has a user, or the right to change it, to give up."""
    return os.geteuid() == 0 or has_capabilities(CAP_SETUID)


def drop_user() -> None:
    """Become a user that owns nothing; needs root, or what of it sets and ends users.

    Without the capability to kill, the parent could not end a child of another user.

    Raises: OSError.
    """
    if not has_capabilities(CAP_SETUID, CAP_SETGID, CAP_KILL):
        raise PermissionError("the capabilities SETUID, SETGID and KILL are needed to change user")
    os.setgroups([])
    os.setresgid(UNPRIVILEGED_ID, UNPRIVILEGED_ID, UNPRIVILEGED_ID)
    os.setresuid(UNPRIVILEGED_ID, UNPRIVILEGED_ID, UNPRIVILEGED_ID)


def drop_capabilities() -> None:
    """Give up every capability.

    Raises: OSError.
    """
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    call_libc("capset", header, (ctypes.c_uint32 * 6)())


def forbid_new_privileges() -> None:
    """Gain nothing by exec; the condition of Landlock and seccomp.

    Raises: OSError.
    """
    prctl(NO_NEW_PRIVILEGES, 1)


def forbid_memory_access() -> None:
    """Let no process of the same user look into this one; no core either.

    Raises: OSError.
    """
    prctl(DUMPABLE, 0)
