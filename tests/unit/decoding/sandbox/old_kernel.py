"""Launcher of a module as on a kernel without seccomp filters, Landlock and namespaces.

python -m tests.unit.decoding.sandbox.old_kernel MODULE ARGUMENTS
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys

ALLOW, ERROR, EQUAL = 0x7FFF0000, 0x00050000, 4
LANDLOCK_CREATE_RULESET = 444
PR_SET_SECCOMP = 22


class Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("unused", ctypes.c_uint64),
    )


def block_sandbox_syscalls() -> None:
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ALLOW))
    numbers = [library.seccomp_syscall_resolve_name(name) for name in (b"seccomp", b"unshare")]
    for number in (*numbers, LANDLOCK_CREATE_RULESET):
        assert library.seccomp_rule_add_array(context, ERROR | errno.ENOSYS, number, 0, None) == 0
    prctl = library.seccomp_syscall_resolve_name(b"prctl")
    filtering = (Comparison * 1)(Comparison(0, EQUAL, PR_SET_SECCOMP, 0))
    assert library.seccomp_rule_add_array(context, ERROR | errno.EINVAL, prctl, 1, filtering) == 0
    assert library.seccomp_load(context) == 0


if __name__ == "__main__":
    block_sandbox_syscalls()
    os.execv(sys.executable, [sys.executable, "-m", *sys.argv[1:]])
