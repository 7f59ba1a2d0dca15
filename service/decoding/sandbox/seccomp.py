"""seccomp through libseccomp: which system calls a process may still make.

The library is maintained with the kernel and comes with every Debian, Ubuntu, Fedora and RHEL;
its Python wrappers on the package index are not maintained, and six functions are all it takes.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Iterable
from typing import Final

from service.decoding.sandbox.syscall_rules import ArgumentCondition, SyscallRule

_LIBRARY: Final = "libseccomp.so.2"
_ARCHITECTURES: Final = ("x86_64", "aarch64")
_KILL: Final = 0x80000000
_ALLOW: Final = 0x7FFF0000
_ERROR: Final = 0x00050000
_MASKED_EQUAL: Final = 7
_ATTRIBUTE_SPECULATION: Final = 7


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("mask", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
    )


class SyscallFilter:
    """libseccomp, loaded: afterwards its file need not be within reach."""

    def __init__(self) -> None:
        """Raises: OSError: there is no libseccomp, or the rules do not fit the architecture."""
        if platform.machine() not in _ARCHITECTURES:
            raise OSError(errno.ENOSYS, f"the rules were never tried on {platform.machine()}")
        library = ctypes.CDLL(_LIBRARY)
        library.seccomp_init.restype = ctypes.c_void_p
        library.seccomp_init.argtypes = [ctypes.c_uint32]
        library.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
        library.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
        library.seccomp_rule_add_array.argtypes = [
            *(ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint),
            ctypes.POINTER(_Comparison),
        ]
        library.seccomp_load.argtypes = [ctypes.c_void_p]
        library.seccomp_release.argtypes = [ctypes.c_void_p]
        library.seccomp_release.restype = None
        self._library = library

    def restrict(self, rules: Iterable[SyscallRule]) -> None:
        """Allow this process what the rules allow; every other call answers EPERM.

        Raises: OSError: the kernel has no seccomp filters.
        """
        context = self._library.seccomp_init(_ERROR | errno.EPERM)
        if not context:
            raise OSError(errno.ENOMEM, "seccomp_init")
        try:
            # where the kernel can't do it, decoding is a little slower, not less confined
            self._library.seccomp_attr_set(context, _ATTRIBUTE_SPECULATION, 1)
            for rule in rules:
                self._add(context, rule)
            _check(self._library.seccomp_load(context), "seccomp_load")
        finally:
            self._library.seccomp_release(context)

    def _add(self, context: int, rule: SyscallRule) -> None:
        number = self._library.seccomp_syscall_resolve_name(rule.name.encode())
        if number < 0:  # this architecture, or this version of the library, has no such call
            return
        action = _KILL if rule.is_fatal else (_ERROR | rule.error if rule.error else _ALLOW)
        comparisons = (_Comparison * len(rule.conditions))(*map(_compare, rule.conditions))
        added = self._library.seccomp_rule_add_array(
            context, action, number, len(rule.conditions), comparisons
        )
        _check(added, f"seccomp_rule_add({rule.name})")


def _compare(condition: ArgumentCondition) -> _Comparison:
    return _Comparison(condition.argument, _MASKED_EQUAL, condition.mask, condition.value)


def _check(result: int, what: str) -> None:
    if result < 0:
        raise OSError(-result, f"{what}: {os.strerror(-result)}")
