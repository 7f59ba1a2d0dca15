"""Parent's side of the forkserver: a process with models and libraries loaded, which forks workers.

It is started by `start`, or at the first request. A forkserver that has ended is replaced at the
next request. One with a crashed decode process is replaced too: a retry then runs with another
address space layout (ASLR).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from service.decoding.forkserver.worker_process import WorkerProcess, read_tail, spawn_worker
from service.decoding.requests import ForkserverReady
from service.errors import DecoderKilled, error_from_code
from service.serialization import decode

_log = logging.getLogger(__name__)

_ROOT: Final = Path(__file__).resolve().parents[3]
_ENVIRONMENT: Final = {
    "PYTHONPATH": str(_ROOT),
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
"""Complete environment of decode processes, without the service's keys and passwords."""
_START_TIMEOUT_SECONDS: Final = 120.0
_EXIT_TIMEOUT_SECONDS: Final = 10.0
"""Limit of an exit that takes milliseconds, before the forkserver itself is killed."""
_MAX_READY_BYTES: Final = 4096


class Forkserver:
    """Starts decode processes on demand. Close it when no decode process is running."""

    def __init__(self, module: str, config: bytes = b"") -> None:
        """Configure the forkserver; nothing is started.

        Args: module: its main module; config: the first message to it; empty: none.
        """
        self._command = (sys.executable, "-P", "-m", module)
        self._config = config
        self._process: _ForkserverProcess | None = None
        self._missing_layers: dict[str, str] | None = None
        self._starting = asyncio.Lock()
        self._releasing: set[asyncio.Task[None]] = set()
        self._retired: dict[asyncio.Task[None], _ForkserverProcess] = {}

    async def start(self) -> None:
        """Start the process unless it is running.

        Raises: FaceModelsMissing, DecoderKilled.
        """
        async with self._starting:
            if self._process is None or self._process.has_ended():
                self.replace()
                self._process = await self._start_process()
                self._log_missing_layers(self._process.missing_layers)

    async def _start_process(self) -> _ForkserverProcess:
        """Start a process, once more if it is killed before it is ready."""
        try:
            return await _ForkserverProcess.start(self._command, self._config)
        except DecoderKilled as error:
            _log.warning("the decode forkserver is started again: %s", error.detail)
            return await _ForkserverProcess.start(self._command, self._config)

    @contextlib.asynccontextmanager
    async def worker(
        self, request: bytes, files: Sequence[int] = ()
    ) -> AsyncGenerator[WorkerProcess]:
        """Fork a decode process with these files; it is killed and reaped on leaving.

        Raises: FaceModelsMissing, DecoderKilled.
        """
        with ExitStack() as resources:
            process, worker = await self._spawn(request, files, resources)
            try:
                yield worker
            finally:
                # a killed worker is reaped even if this wait is cancelled in its turn
                releasing = asyncio.create_task(_release(process, worker, resources.pop_all()))
                self._releasing.add(releasing)
                releasing.add_done_callback(self._releasing.discard)
                await asyncio.shield(releasing)

    def replace(self) -> None:
        """Use a new process from the next request on; the present one ends with its last worker."""
        if self._process is not None:
            ending = asyncio.create_task(self._process.shut_down())
            self._retired[ending] = self._process
            ending.add_done_callback(self._retired.pop)
            self._process = None

    async def close(self) -> None:
        """End every process, and reap it."""
        self.replace()
        while self._releasing:
            await asyncio.wait(self._releasing)
        while self._retired:
            _, late = await asyncio.wait(self._retired, timeout=_EXIT_TIMEOUT_SECONDS)
            for ending in late:
                self._retired[ending].kill()

    async def _spawn(
        self, request: bytes, files: Sequence[int], resources: ExitStack
    ) -> tuple[_ForkserverProcess, WorkerProcess]:
        for _ in range(2):
            await self.start()
            process = self._process
            if process is None:
                continue
            try:
                return process, await spawn_worker(
                    process.control_socket, request, files, resources
                )
            except OSError as error:
                _log.warning("the decode forkserver accepts no requests: %s", error)
                process.kill()
                if self._process is process:
                    self.replace()
        raise DecoderKilled("No process to decode the clip in could be started")

    def _log_missing_layers(self, missing_layers: dict[str, str]) -> None:
        """Log how decode processes are confined: once, and whenever that changes."""
        if missing_layers == self._missing_layers:
            return
        self._missing_layers = missing_layers
        if missing_layers:
            why = "; ".join(f"{layer}: {reason}" for layer, reason in missing_layers.items())
            _log.warning("decode processes lack layers of their sandbox: %s", why)
        else:
            _log.info("decode processes have every layer of their sandbox")


async def _release(
    process: _ForkserverProcess, worker: WorkerProcess, resources: ExitStack
) -> None:
    with resources:
        if not await worker.kill_and_wait(_EXIT_TIMEOUT_SECONDS):
            _log.error("the decode forkserver does not respond: it is killed")
            process.kill()
            await worker.wait()


class _ForkserverProcess:
    """One process of a forkserver, from its start to its end.

    missing_layers: layers of its sandbox that this machine does not have, and why.
    """

    def __init__(
        self, process: Process, control_socket: socket.socket, stderr_tail: asyncio.Task[bytes]
    ) -> None:
        self._process = process
        self._stderr_tail = stderr_tail
        self.control_socket = control_socket
        self.missing_layers: dict[str, str] = {}

    @classmethod
    async def start(cls, command: Sequence[str], config: bytes) -> _ForkserverProcess:
        """Start a process and wait until it has loaded everything.

        Raises: the error that it reports; DecoderKilled: it ends before it is ready.
        """
        control_socket, remote_socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control_socket.setblocking(False)
        with remote_socket:
            if config:
                control_socket.send(config)
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=remote_socket.fileno(),
                stdout=DEVNULL,
                stderr=PIPE,
                env=_ENVIRONMENT,
                start_new_session=True,
            )
        if process.stderr is None:
            raise RuntimeError("the forkserver was started without pipes")
        forkserver = cls(process, control_socket, asyncio.create_task(read_tail(process.stderr)))
        try:
            await forkserver._wait_until_ready()
        except BaseException:
            forkserver.kill()
            await asyncio.shield(forkserver.shut_down())
            raise
        return forkserver

    async def _wait_until_ready(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_START_TIMEOUT_SECONDS):
                message = await loop.sock_recv(self.control_socket, _MAX_READY_BYTES)
        except TimeoutError as error:
            raise DecoderKilled("The decode forkserver takes too long to start") from error
        except ConnectionError as error:
            raise DecoderKilled("The decode forkserver ended before it was ready") from error
        if not message:
            raise DecoderKilled("The decode forkserver ended before it was ready")
        ready = decode(message, ForkserverReady)
        if ready.error_code is not None:
            raise error_from_code(ready.error_code, ready.error_detail)
        self.missing_layers = ready.missing_layers

    def has_ended(self) -> bool:
        """Return whether it has been reaped."""
        return self._process.returncode is not None

    def kill(self) -> None:
        """Kill it; its decode processes end with it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def shut_down(self) -> None:
        """Close its control socket, and wait until its last decode process and it have ended."""
        self.control_socket.close()
        status = await self._process.wait()
        stderr = await self._stderr_tail
        if status != 0 or stderr:
            text = stderr.decode(errors="replace")
            # libraries write notes there: only its failure is a reason to look at them
            level = logging.WARNING if status else logging.DEBUG
            _log.log(level, "the decode forkserver ended with status %d: %s", status, text)
