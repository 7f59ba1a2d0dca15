"""The process of a nursery, as its owner sees it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from service.decoding.forkserver.child import read_tail
from service.errors import DecoderKilled, error_from_code

_log = logging.getLogger(__name__)

_ROOT: Final = Path(__file__).resolve().parents[3]
_ENVIRONMENT: Final = {
    "PYTHONPATH": str(_ROOT),
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
"""All of a child's environment: none of the service's keys and passwords."""
_START_TIMEOUT_SECONDS: Final = 120.0
_MAX_READY_MESSAGE_BYTES: Final = 4096


class ForkserverProcess:
    """A process that bears children, from its greeting to its end."""

    def __init__(
        self, process: Process, control_socket: socket.socket, stderr_tail: asyncio.Task[bytes]
    ) -> None:
        self._process = process
        self._stderr_tail = stderr_tail
        self.control_socket = control_socket
        self.missing_layers: dict[str, str] = {}
        """Layers of its sandbox that this machine does not have, and why."""

    @classmethod
    async def start(cls, command: Sequence[str]) -> ForkserverProcess:
        """Start and wait until it has loaded everything.

        Raises: what it greets with; DecoderKilled: it ends before.
        """
        control_socket, remote_socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control_socket.setblocking(False)
        with remote_socket:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=remote_socket.fileno(),
                stdout=DEVNULL,
                stderr=PIPE,
                env=_ENVIRONMENT,
                start_new_session=True,
            )
        if process.stderr is None:
            raise RuntimeError("the nursery was started without pipes")
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
                message = await loop.sock_recv(self.control_socket, _MAX_READY_MESSAGE_BYTES)
        except TimeoutError as error:
            raise DecoderKilled("The decode nursery takes too long to start") from error
        if not message:
            raise DecoderKilled("The decode nursery ended before it was ready")
        fields = json.loads(message)
        if "code" in fields:
            raise error_from_code(fields["code"], fields["detail"])
        self.missing_layers = fields["lacking"]

    def has_ended(self) -> bool:
        """Whether it has been reaped."""
        return self._process.returncode is not None

    def kill(self) -> None:
        """End it now, and its children with it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def shut_down(self) -> None:
        """Ask for no more children, and wait until it has gone."""
        self.control_socket.close()
        status = await self._process.wait()
        stderr = await self._stderr_tail
        if status != 0 or stderr:
            text = stderr.decode(errors="replace")
            _log.warning("decode nursery ended with status %d: %s", status, text)
