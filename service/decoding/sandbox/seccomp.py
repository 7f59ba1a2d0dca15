"""System call filter of a decode process: what decoders, numpy and Python need, by libseccomp.

The process reads and writes open handles, allocates memory that cannot be executed, starts
threads, and reads the time. The calls were found by tracing the test media.

libseccomp is maintained with the kernel and part of every Debian, Ubuntu, Fedora and RHEL; its
Python wrappers on the package index are not maintained, and it takes only six functions.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_LIBRARY: Final = "libseccomp.so.2"
_ARCHITECTURES: Final = ("x86_64", "aarch64")
_KILL: Final = 0x80000000
_ALLOW: Final = 0x7FFF0000
_ERROR: Final = 0x00050000
_MASKED_EQUAL: Final = 7
_ATTRIBUTE_SPECULATION: Final = 7
_CLONE_THREAD: Final = 0x00010000
_AT_EMPTY_PATH: Final = 0x1000
_PR_SET_NAME: Final = 15

_ALLOWED: Final = """
    read readv pread64 preadv write writev lseek close dup fstat
    brk munmap mremap madvise membarrier
    futex futex_waitv set_robust_list get_robust_list rseq exit exit_group restart_syscall
    sched_yield sched_getaffinity getcpu
    rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack
    clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time times getrusage
    getpid gettid getppid getuid geteuid getgid getegid getrandom getrlimit uname sysinfo
    poll ppoll
"""
_FATAL: Final = """
    execve execveat fork vfork ptrace process_vm_readv process_vm_writev
    socket socketpair connect bind listen accept accept4 sendto sendmsg sendmmsg
    open_by_handle_at mount umount2 move_mount open_tree fsopen pivot_root chroot setns unshare
    init_module finit_module delete_module kexec_load kexec_file_load bpf perf_event_open
    userfaultfd io_uring_setup keyctl add_key request_key memfd_create
"""
"""No decoder makes these calls: they kill the process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentCondition:
    """A condition on an argument of a call: its bits under `mask` equal `value`."""

    argument: int
    value: int
    mask: int = 2**64 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SyscallRule:
    """A call that is allowed under conditions, or returns `error`, or kills the process."""

    name: str
    conditions: tuple[ArgumentCondition, ...] = ()
    error: int = 0
    is_fatal: bool = False


def build_syscall_rules(pid: int) -> list[SyscallRule]:
    """Make the rules of the process `pid`; every other call returns EPERM."""
    not_executable = ArgumentCondition(argument=2, value=0, mask=mmap.PROT_EXEC)
    is_thread = ArgumentCondition(argument=0, value=_CLONE_THREAD, mask=_CLONE_THREAD)
    is_process = ArgumentCondition(argument=0, value=0, mask=_CLONE_THREAD)
    no_path = ArgumentCondition(argument=3, value=_AT_EMPTY_PATH, mask=_AT_EMPTY_PATH)
    handle_commands = (fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC, fcntl.F_GETFD, fcntl.F_SETFD)
    return [
        *(SyscallRule(name=name) for name in _ALLOWED.split()),
        *(SyscallRule(name=name, is_fatal=True) for name in _FATAL.split()),
        *(SyscallRule(name=name, conditions=(not_executable,)) for name in ("mmap", "mprotect")),
        SyscallRule(name="clone", conditions=(is_thread,)),
        SyscallRule(name="clone", conditions=(is_process,), is_fatal=True),
        # its flags cannot be inspected; libraries fall back to clone
        SyscallRule(name="clone3", error=errno.ENOSYS),
        SyscallRule(name="newfstatat", conditions=(no_path,)),
        *(
            SyscallRule(name="fcntl", conditions=(ArgumentCondition(argument=1, value=command),))
            for command in (*handle_commands, fcntl.F_GETFL)
        ),
        SyscallRule(name="prctl", conditions=(ArgumentCondition(argument=0, value=_PR_SET_NAME),)),
        SyscallRule(name="prlimit64", conditions=(ArgumentCondition(argument=2, value=0),)),
        SyscallRule(name="tgkill", conditions=(ArgumentCondition(argument=0, value=pid),)),
    ]


class _Comparison(ctypes.Structure):
    """`struct scmp_arg_cmp` of libseccomp."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("mask", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
    )


class SyscallFilter:
    """The loaded libseccomp: its file need not be accessible any more."""

    def __init__(self) -> None:
        """Load it. Raises: OSError: it is missing, or the architecture is not supported."""
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
        """Restrict this process to the rules; every other call returns EPERM.

        Raises: OSError: the kernel has no seccomp filters.
        """
        context = self._library.seccomp_init(_ERROR | errno.EPERM)
        if not context:
            raise OSError(errno.ENOMEM, "seccomp_init")
        try:
            # without this attribute decoding is a little slower, not less confined
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


def _check(result: int, call: str) -> None:
    if result < 0:
        raise OSError(-result, f"{call}: {os.strerror(-result)}")
