"""The system calls that are left to a decode child: what decoders, numpy and Python need.

It reads and writes handles it holds, keeps memory that cannot be executed, starts threads, and
asks for the time. Found by tracing the test media; names that a machine lacks are passed over.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
from dataclasses import dataclass
from typing import Final

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
"""Nothing innocent calls these: the process ends there, before it tries something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentCondition:
    """A call's argument, of which the bits of `mask` have to be `value`."""

    argument: int
    value: int
    mask: int = 2**64 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SyscallRule:
    """A call that is allowed under conditions; `error`: what it answers instead; `kills`."""

    name: str
    conditions: tuple[ArgumentCondition, ...] = ()
    error: int = 0
    is_fatal: bool = False


def build_syscall_rules(pid: int) -> list[SyscallRule]:
    """What holds for the process `pid`; every other call answers EPERM."""
    not_executable = ArgumentCondition(argument=2, value=0, mask=mmap.PROT_EXEC)
    is_thread = ArgumentCondition(argument=0, value=_CLONE_THREAD, mask=_CLONE_THREAD)
    is_process = ArgumentCondition(argument=0, value=0, mask=_CLONE_THREAD)
    no_name = ArgumentCondition(argument=3, value=_AT_EMPTY_PATH, mask=_AT_EMPTY_PATH)
    handle_commands = (fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC, fcntl.F_GETFD, fcntl.F_SETFD)
    return [
        *(SyscallRule(name=name) for name in _ALLOWED.split()),
        *(SyscallRule(name=name, is_fatal=True) for name in _FATAL.split()),
        *(SyscallRule(name=name, conditions=(not_executable,)) for name in ("mmap", "mprotect")),
        SyscallRule(name="clone", conditions=(is_thread,)),
        SyscallRule(name="clone", conditions=(is_process,), is_fatal=True),
        SyscallRule(
            name="clone3", error=errno.ENOSYS
        ),  # its flags cannot be seen; libraries fall back
        SyscallRule(name="newfstatat", conditions=(no_name,)),
        *(
            SyscallRule(name="fcntl", conditions=(ArgumentCondition(argument=1, value=command),))
            for command in (*handle_commands, fcntl.F_GETFL)
        ),
        SyscallRule(name="prctl", conditions=(ArgumentCondition(argument=0, value=_PR_SET_NAME),)),
        SyscallRule(name="prlimit64", conditions=(ArgumentCondition(argument=2, value=0),)),
        SyscallRule(name="tgkill", conditions=(ArgumentCondition(argument=0, value=pid),)),
    ]
