"""Calls of the C library that Python has no name for."""

from __future__ import annotations

import ctypes
import os
from typing import Final

NO_NEW_PRIVILEGES: Final = 38
PARENT_DEATH_SIGNAL: Final = 1
DUMPABLE: Final = 4
"""Options of prctl."""


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
    """prctl with one argument.

    Raises: OSError.
    """
    call_libc("prctl", option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3)
