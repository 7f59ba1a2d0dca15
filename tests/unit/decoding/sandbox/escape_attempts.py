"""Attempts of a compromised decode process to escape from its sandbox.

python -m tests.unit.decoding.sandbox.escape_attempts FOLDER [UID] confines itself as a decode
process does, and makes each attempt in a process of its own. It prints as JSON the outcome of
each ("done", the name of an errno, or of the signal that ended the process), the layers of the
sandbox that are missing, and whether it has left the network it was started in.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from errno import errorcode
from pathlib import Path

from service.decoding.sandbox.confinement import Confinement

LIBC = ctypes.CDLL(None, use_errno=True)


def call_libc(name: str, *arguments: object) -> None:
    if getattr(LIBC, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


def start_thread() -> None:
    ran = threading.Event()
    threading.Thread(target=ran.set).start()
    assert ran.wait(10)


def escape_attempts(folder: Path, handle: int) -> dict[str, Callable[[], object]]:
    """List attempts by name. Args: handle: of a file that was opened before."""
    present, absent = str(folder / "present"), str(folder / "absent")
    address = ctypes.c_uint64()
    part = (ctypes.c_void_p * 2)(ctypes.addressof(address), 8)
    return {
        # what a decoder needs
        "read a handle": lambda: os.pread(handle, 4, 0),
        "seek a handle": lambda: os.lseek(handle, 0, os.SEEK_SET),
        "copy a handle": lambda: os.dup(handle),
        "have memory": lambda: bytearray(1 << 22),
        "start a thread": start_thread,
        # files
        "open a file": lambda: os.open(present, os.O_RDONLY),
        "open a folder": lambda: os.listdir(str(folder)),  # noqa: PTH208 - the plain call is what is attempted
        "open itself": lambda: os.open("/proc/self/exe", os.O_RDONLY),
        "open the memory of the parent": lambda: os.open(f"/proc/{os.getppid()}/mem", os.O_RDWR),
        "stat a file": lambda: os.stat(present),  # noqa: PTH116 - the plain call is what is attempted
        "write a file": lambda: os.open(present, os.O_WRONLY),
        "create a file": lambda: os.open(absent, os.O_WRONLY | os.O_CREAT),
        "make a folder": lambda: os.mkdir(absent),  # noqa: PTH102 - the plain call is what is attempted
        "remove a file": lambda: os.unlink(present),  # noqa: PTH108 - the plain call is what is attempted
        "rename a file": lambda: os.rename(present, absent),  # noqa: PTH104 - the plain call is what is attempted
        "link a file": lambda: os.symlink(present, absent),  # noqa: PTH211 - the plain call is what is attempted
        "open to all users": lambda: os.chmod(present, 0o777),  # noqa: PTH101 - the plain call is what is attempted
        "write through a handle": lambda: os.write(handle, b"x"),
        "make memory that is a file": lambda: os.memfd_create("x"),
        # networks
        "make a socket": lambda: socket.socket(),
        "make a local socket": lambda: socket.socket(socket.AF_UNIX),
        # processes
        "fork": os.fork,
        "run a program": lambda: os.execv("/bin/true", ["true"]),
        "trace": lambda: call_libc("ptrace", 0, 0, 0, 0),
        "read another process": lambda: call_libc(
            "process_vm_readv", os.getppid(), part, 1, part, 1, 0
        ),
        "signal the parent": lambda: os.kill(os.getppid(), 0),
        "signal all processes": lambda: os.kill(-1, 0),
        "queue a signal": lambda: call_libc("sigqueue", os.getppid(), 0, 0),
        # rights
        "become root": lambda: os.setresuid(0, 0, 0),
        "raise a limit": lambda: call_libc("setrlimit", 7, (ctypes.c_ulong * 2)(1 << 16, 1 << 16)),
        "run memory": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
        "make memory run": lambda: call_libc(
            "mprotect", ctypes.c_void_p(id(part) & ~4095), 4096, mmap.PROT_READ | mmap.PROT_EXEC
        ),
        "leave the namespaces": lambda: call_libc("unshare", 0x10000000),
        "change the root": lambda: os.chroot(str(folder)),
    }


def run_attempt(confinement: Confinement, attempt: Callable[[], object]) -> str:
    """Return the outcome of an attempt in a confined process."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        confinement.enter(memory_bytes=1 << 28, cpu_seconds=10)
        try:
            attempt()
            os.write(writing, b"done")
        except OSError as error:
            os.write(writing, errorcode[error.errno or 0].encode())
        except BaseException as error:
            os.write(writing, repr(error).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        outcome = pipe.read().decode()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return outcome if code >= 0 else signal.Signals(-code).name


def main() -> None:
    folder = Path(sys.argv[1])
    if len(sys.argv) > 2 and os.geteuid() == 0:
        os.setgroups([])
        os.setgid(int(sys.argv[2]))
        os.setuid(int(sys.argv[2]))
    handle = os.open(folder / "present", os.O_RDONLY)
    network = Path("/proc/self/ns/net")
    first_network = network.readlink()
    confinement = Confinement()
    outcomes = {
        name: run_attempt(confinement, attempt)
        for name, attempt in escape_attempts(folder, handle).items()
    }
    report = {
        "outcomes": outcomes,
        "missing_layers": confinement.missing_layers,
        "has_left_network": network.readlink() != first_network,
    }
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main()
