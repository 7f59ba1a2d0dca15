"""The voice of a stream through its backbone, several frames at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from service.domain.live import Heard
from service.estimation import Estimation
from service.live.mailbox import Mailbox
from service.live.provisional import Provisional
from service.live.rows import Row
from service.live.sounds import join

MIN_FRAMES: Final = 8
"""Frames whose voice goes to the backbone together: one costs as much as these."""
WAIT_SECONDS: Final = 0.25
"""For no longer than this does the first of them wait for the others."""
MAX_PIECES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """Embeds what was heard."""

    estimation: Estimation
    provisional: Provisional | None
    unheard: deque[Row]
    """The frames that have no voice yet, in order."""
    changed: Callable[[], None]
    """Told whenever rows have got their voice."""
    heard: Mailbox[Heard] = field(default_factory=Mailbox[Heard])

    async def embed(self) -> None:
        """Sound of frames in order, to features."""
        while pieces := await self._gather():
            voice = await self.estimation.embed_voice(
                *join([(each.waveform, each.patch_starts) for each in pieces])
            )
            if self.provisional is not None:
                self.provisional.hear(self.unheard[0].sent.frame.index, voice)
            for features in voice:
                self.unheard.popleft().voice = features
            self.changed()

    async def _gather(self) -> list[Heard]:
        pieces = await self.heard.take(MAX_PIECES)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while pieces and sum(len(each.patch_starts) for each in pieces) < MIN_FRAMES:
                    more = await self.heard.take(MAX_PIECES)
                    if not more:
                        break
                    pieces += more
        except TimeoutError:
            pass
        return pieces
