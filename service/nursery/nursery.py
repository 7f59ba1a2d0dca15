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

from service.errors import DecoderKilled
from service.nursery.lifeline import Child, ask_for
from service.nursery.nurse import Nurse

_log = logging.getLogger(__name__)

_END_SECONDS: Final = 10.0
"""What an end may take that costs milliseconds, before the nursery itself is killed."""


class Nursery:
    """Children on demand. Close it when no child is under way."""

    def __init__(self, module: str, arguments: Sequence[str]) -> None:
        """Args: module, arguments: `python -m` of a process that greets and then tends."""
        self._command = (sys.executable, "-P", "-m", module, *arguments)
        self._nurse: Nurse | None = None
        self._lacking: dict[str, str] | None = None
        self._starting = asyncio.Lock()
        self._leaving: set[asyncio.Task[None]] = set()
        self._dismissed: dict[asyncio.Task[None], Nurse] = {}

    async def start(self) -> None:
        """Have it ready.

        Raises: FaceModelsMissing, DecoderKilled.
        """
        async with self._starting:
            if self._nurse is None or self._nurse.has_ended():
                self.renew()
                self._nurse = await Nurse.start(self._command)
                self._report(self._nurse)

    def _report(self, nurse: Nurse) -> None:
        """Log once how the children are confined, and whenever that changes."""
        if nurse.lacking != self._lacking:
            self._lacking = nurse.lacking
            if nurse.lacking:
                why = "; ".join(f"{layer}: {reason}" for layer, reason in nurse.lacking.items())
                _log.warning("decode children lack layers of their sandbox: %s", why)
            else:
                _log.info("decode children have every layer of their sandbox")

    @contextlib.asynccontextmanager
    async def child(self, request: bytes, files: Sequence[int] = ()) -> AsyncGenerator[Child]:
        """A child with these files; killed and reaped on leaving.

        Raises: FaceModelsMissing, DecoderKilled.
        """
        with ExitStack() as kept:
            nurse, child = await self._bear(request, files, kept)
            try:
                yield child
            finally:
                # a killed child is reaped even if this wait is cancelled in its turn
                leaving = asyncio.create_task(_part(nurse, child, kept.pop_all()))
                self._leaving.add(leaving)
                leaving.add_done_callback(self._leaving.discard)
                await asyncio.shield(leaving)

    async def _bear(
        self, request: bytes, files: Sequence[int], kept: ExitStack
    ) -> tuple[Nurse, Child]:
        for _ in range(2):
            await self.start()
            nurse = self._nurse
            if nurse is None:
                continue
            try:
                return nurse, await ask_for(nurse.door, request, files, kept)
            except OSError as error:
                _log.warning("the decode nursery takes no clips: %s", error)
                nurse.kill()
                if self._nurse is nurse:
                    self.renew()
        raise DecoderKilled("No process to decode the clip in could be started")

    def renew(self) -> None:
        """Let the next clip have a new process; the present one ends with its last child."""
        if self._nurse is not None:
            ending = asyncio.create_task(self._nurse.end())
            self._dismissed[ending] = self._nurse
            ending.add_done_callback(self._dismissed.pop)
            self._nurse = None

    async def close(self) -> None:
        """End every process, and reap it."""
        self.renew()
        while self._leaving:
            await asyncio.wait(self._leaving)
        while self._dismissed:
            _, late = await asyncio.wait(self._dismissed, timeout=_END_SECONDS)
            for ending in late:
                self._dismissed[ending].kill()


async def _part(nurse: Nurse, child: Child, kept: ExitStack) -> None:
    with kept:
        if not await child.leave(_END_SECONDS):
            _log.error("the decode nursery does not answer: it is killed")
            nurse.kill()
            await child.end()
