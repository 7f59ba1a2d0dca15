"""Restrictions that a process puts on itself: user, capabilities, network, files, resources.

Files are denied by Landlock, which needs Linux 5.13 with Landlock enabled, no library. From 6.7
on it denies TCP too, from 6.12 on signals to other processes and abstract sockets.
Source: the kernel's Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import signal
import time
from pathlib import Path
from typing import Final

_NO_NEW_PRIVILEGES: Final = 38
_PARENT_DEATH_SIGNAL: Final = 1
_DUMPABLE: Final = 4
"""Options of prctl."""
UNPRIVILEGED_ID: Final = 65_534
"""The user and group that own nothing: `nobody` and `nogroup`."""
CAP_KILL: Final = 5
CAP_SETGID: Final = 6
CAP_SETUID: Final = 7
"""Capabilities, by their numbers in Linux."""
_CAPABILITY_VERSION: Final = 0x20080522
_NEW_IPC: Final = 0x08000000
_NEW_USER: Final = 0x10000000
_NEW_NETWORK: Final = 0x40000000
_CREATE_RULESET: Final = 444
_RESTRICT_SELF: Final = 446
"""System call numbers, the same on every architecture."""
_GET_VERSION_FLAG: Final = 1
_RIGHTS_BY_VERSION: Final = {1: 13, 2: 14, 3: 15, 4: 15}
"""Number of file rights by version."""
_MAX_RIGHTS: Final = 16
_TCP_VERSION: Final = 4
_TCP_RIGHTS: Final = 0b11
_SCOPE_VERSION: Final = 6
_SCOPES: Final = 0b11
MAX_OPEN_FILES: Final = 64
CPU_GRACE_SECONDS: Final = 5
"""Processor time between SIGXCPU and SIGKILL."""


def has_capabilities(*numbers: int) -> bool:
    """Return whether all of these capabilities are in effect."""
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    return all(effective >> number & 1 for number in numbers)


def is_privileged() -> bool:
    """Return whether this process is root, or may change its user."""
    return os.geteuid() == 0 or has_capabilities(CAP_SETUID)


def drop_user() -> None:
    """Change to a user that owns nothing; needs root, or its capabilities SETUID, SETGID and KILL.

    Without the capability KILL, the parent could not end a decode process of another user.

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
    """Forbid that exec gains privileges (no_new_privs); Landlock and seccomp require it.

    Raises: OSError.
    """
    prctl(_NO_NEW_PRIVILEGES, 1)


def forbid_memory_access() -> None:
    """Deny other processes of the same user this one's memory, and core dumps.

    Raises: OSError.
    """
    prctl(_DUMPABLE, 0)


def enter_empty_network_namespace() -> None:
    """Move this process, which has one thread, to an empty network namespace.

    A privileged one does not fall back to a user namespace, in which it could not change its
    user any more.

    Raises: OSError: it is not allowed.
    """
    user_flag = 0 if is_privileged() else _NEW_USER
    call_libc("unshare", user_flag | _NEW_NETWORK | _NEW_IPC)


def deny_file_access() -> None:
    """Deny this process every right that Landlock knows; open handles stay usable.

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


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends (Linux)."""
    prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it ended before the call
        os.kill(os.getpid(), signal.SIGKILL)


def limit_resources(*, memory_bytes: int, cpu_seconds: int) -> None:
    """Limit this process: no files written, no core, few handles, memory and processor time.

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
    """Set a soft limit, and the hard one `grace` above it."""
    hard = resource.getrlimit(kind)[1]
    soft, top = (
        wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        for wanted in (soft_limit, soft_limit + grace)
    )
    resource.setrlimit(kind, (soft, top))


def _read_mapped_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def call_libc(name: str, *arguments: object) -> int:
    """Call a function of the C library that reports failure as -1 and errno.

    Raises: OSError.
    """
    library = ctypes.CDLL(None, use_errno=True)
    function = getattr(library, name)
    function.restype = ctypes.c_long
    result = int(function(*arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
    return result


def prctl(option: int, value: int) -> None:
    """Call prctl with one argument.

    Raises: OSError.
    """
    call_libc("prctl", option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3)
