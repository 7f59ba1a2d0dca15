"""Where decode children come from: a process that has everything loaded, and forks them.

It is started when first needed, or before, by `start`; one that was lost is replaced at the
next clip, and so is one whose child crashed: no two attempts meet the same addresses.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack
from typing import Final

from service.decoding.forkserver.child import ChildHandle, request_child
from service.decoding.forkserver.process import ForkserverProcess
from service.errors import DecoderKilled

_log = logging.getLogger(__name__)

_EXIT_TIMEOUT_SECONDS: Final = 10.0
"""What an end may take that costs milliseconds, before the nursery itself is killed."""


class Forkserver:
    """Children on demand. Close it when no child is under way."""

    def __init__(self, module: str, arguments: Sequence[str]) -> None:
        """Args: module, arguments: `python -m` of a process that greets and then tends."""
        self._command = (sys.executable, "-P", "-m", module, *arguments)
        self._process: ForkserverProcess | None = None
        self._missing_layers: dict[str, str] | None = None
        self._starting = asyncio.Lock()
        self._releasing: set[asyncio.Task[None]] = set()
        self._retired: dict[asyncio.Task[None], ForkserverProcess] = {}

    async def start(self) -> None:
        """Have it ready.

        Raises: FaceModelsMissing, DecoderKilled.
        """
        async with self._starting:
            if self._process is None or self._process.has_ended():
                self.replace()
                self._process = await ForkserverProcess.start(self._command)
                self._log_missing_layers(self._process)

    def _log_missing_layers(self, process: ForkserverProcess) -> None:
        """Log once how the children are confined, and whenever that changes."""
        if process.missing_layers != self._missing_layers:
            self._missing_layers = process.missing_layers
            if process.missing_layers:
                why = "; ".join(
                    f"{layer}: {reason}" for layer, reason in process.missing_layers.items()
                )
                _log.warning("decode children lack layers of their sandbox: %s", why)
            else:
                _log.info("decode children have every layer of their sandbox")

    @contextlib.asynccontextmanager
    async def child(self, request: bytes, files: Sequence[int] = ()) -> AsyncGenerator[ChildHandle]:
        """A child with these files; killed and reaped on leaving.

        Raises: FaceModelsMissing, DecoderKilled.
        """
        with ExitStack() as resources:
            process, child = await self._spawn_child(request, files, resources)
            try:
                yield child
            finally:
                # a killed child is reaped even if this wait is cancelled in its turn
                releasing = asyncio.create_task(_release_child(process, child, resources.pop_all()))
                self._releasing.add(releasing)
                releasing.add_done_callback(self._releasing.discard)
                await asyncio.shield(releasing)

    async def _spawn_child(
        self, request: bytes, files: Sequence[int], resources: ExitStack
    ) -> tuple[ForkserverProcess, ChildHandle]:
        for _ in range(2):
            await self.start()
            process = self._process
            if process is None:
                continue
            try:
                return process, await request_child(
                    process.control_socket, request, files, resources
                )
            except OSError as error:
                _log.warning("the decode nursery takes no clips: %s", error)
                process.kill()
                if self._process is process:
                    self.replace()
        raise DecoderKilled("No process to decode the clip in could be started")

    def replace(self) -> None:
        """Let the next clip have a new process; the present one ends with its last child."""
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


async def _release_child(
    process: ForkserverProcess, child: ChildHandle, resources: ExitStack
) -> None:
    with resources:
        if not await child.kill_and_wait(_EXIT_TIMEOUT_SECONDS):
            _log.error("the decode nursery does not answer: it is killed")
            process.kill()
            await child.wait()
