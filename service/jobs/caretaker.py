"""Clears away what nobody will come back for."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from service.domain.ports import Store
from service.errors import ServiceError

SWEEP_SECONDS: Final = 600.0

log = logging.getLogger(__name__)


class Caretaker:
    """Every gateway has one; they do not disturb each other."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def run(self) -> None:
        """Sweep now and every ten minutes, until cancelled."""
        while True:
            try:
                if found := await self._store.sweep():
                    log.info("removed %d partial files that nobody writes to", found)
            except ServiceError as error:
                log.warning("partial files cannot be swept: %s", error)
            await asyncio.sleep(SWEEP_SECONDS)
