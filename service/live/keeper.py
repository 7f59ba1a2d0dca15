"""Keeps one stream in the archive while it lives."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Final

from circumplex.v1 import annotation_pb2 as wire

from service.errors import QueueUnavailable
from service.live.archive import TOLD_RESULTS, Archive, Hold
from service.live.pieces import Position
from service.live.token import ResumeToken

LOOK_SECONDS: Final = 1.0
"""So often a session looks whether another has taken its stream over."""

log = logging.getLogger(__name__)


class Keeper:
    """Writes states and told results, and knows whether the stream could be resumed now."""

    def __init__(
        self, archive: Archive, hold: Hold, *, entries: int = 0, is_resumed: bool = False
    ) -> None:
        """Args: entries: told before this session, and kept. is_resumed: from what is kept."""
        self._archive = archive
        self._hold = hold
        self._pending: list[bytes] = []
        self._first = entries
        self._has_state = is_resumed
        self._is_missed = False
        self._kept_until = time.monotonic() + archive.kept_seconds

    @property
    def is_resumable(self) -> bool:
        """Whether somebody who is cut off now can go on."""
        return self._has_state and time.monotonic() < self._kept_until

    def token_of(self, index: int) -> str:
        """To go on behind the final result of this frame; empty where that cannot be done."""
        token = ResumeToken(stream_id=self._hold.stream_id, index=index)
        return str(token) if self.is_resumable else ""

    def note(self, told: Sequence[wire.StreamingAnnotateResponse]) -> None:
        """These are told; they are kept with the next state."""
        self._pending += [each.SerializeToString() for each in told]
        surplus = max(0, len(self._pending) - TOLD_RESULTS)
        del self._pending[:surplus]
        self._first += surplus

    async def save(self, state: bytes, received: Position) -> bool:
        """Keep this state and what was noted before it; False: Redis is away, another time.

        Raises: StreamSuperseded.
        """
        first, told = self._first, [*self._pending]
        try:
            await self._archive.write(self._hold, state, received, first, told)
        except QueueUnavailable as error:
            self._miss(error)
            return False
        written = first + len(told) - self._first
        del self._pending[:written]
        self._first += written
        self._has_state = True
        self._stay()
        return True

    @property
    def look_seconds(self) -> float:
        """So often `look` has to be called."""
        return min(LOOK_SECONDS, self._archive.kept_seconds / 4)

    async def look(self, received: Position) -> None:
        """Keep what is kept for longer; raises StreamSuperseded."""
        try:
            if await self._archive.keep(self._hold, received):
                self._stay()
            else:
                self._has_state = False
        except QueueUnavailable as error:
            self._miss(error)

    def _miss(self, error: QueueUnavailable) -> None:
        """Say once, until it is over, that nothing is kept."""
        if not self._is_missed:
            log.warning("stream: what comes now is not kept to be resumed: %s", error.detail)
        self._is_missed = True

    def _stay(self) -> None:
        self._is_missed = False
        self._kept_until = time.monotonic() + self._archive.kept_seconds
