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

from service.errors import DecoderKilled, error_of
from service.nursery.lifeline import keep_tail

_log = logging.getLogger(__name__)

_ROOT: Final = Path(__file__).resolve().parents[2]
_ENVIRONMENT: Final = {
    "PYTHONPATH": str(_ROOT),
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
"""All of a child's environment: none of the service's keys and passwords."""
_START_SECONDS: Final = 120.0
_MAX_GREETING_BYTES: Final = 4096


class Nurse:
    """A process that bears children, from its greeting to its end."""

    def __init__(self, process: Process, door: socket.socket, said: asyncio.Task[bytes]) -> None:
        self._process = process
        self._said = said
        self.door = door
        self.lacking: dict[str, str] = {}
        """Layers of its sandbox that this machine does not have, and why."""

    @classmethod
    async def start(cls, command: Sequence[str]) -> Nurse:
        """Start and wait until it has loaded everything.

        Raises: what it greets with; DecoderKilled: it ends before.
        """
        door, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        door.setblocking(False)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=theirs.fileno(),
                stdout=DEVNULL,
                stderr=PIPE,
                env=_ENVIRONMENT,
                start_new_session=True,
            )
        if process.stderr is None:
            raise RuntimeError("the nursery was started without pipes")
        nurse = cls(process, door, asyncio.create_task(keep_tail(process.stderr)))
        try:
            await nurse._greet()
        except BaseException:
            nurse.kill()
            await asyncio.shield(nurse.end())
            raise
        return nurse

    async def _greet(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_START_SECONDS):
                greeting = await loop.sock_recv(self.door, _MAX_GREETING_BYTES)
        except TimeoutError as error:
            raise DecoderKilled("The decode nursery takes too long to start") from error
        if not greeting:
            raise DecoderKilled("The decode nursery ended before it was ready")
        fields = json.loads(greeting)
        if "code" in fields:
            raise error_of(fields["code"], fields["detail"])
        self.lacking = fields["lacking"]

    def has_ended(self) -> bool:
        """Whether it has been reaped."""
        return self._process.returncode is not None

    def kill(self) -> None:
        """End it now, and its children with it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def end(self) -> None:
        """Ask for no more children, and wait until it has gone."""
        self.door.close()
        status = await self._process.wait()
        said = await self._said
        if status != 0 or said:
            told = said.decode(errors="replace")
            _log.warning("decode nursery ended with status %d: %s", status, told)
