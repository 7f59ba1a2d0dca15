"""The beat of one attempt: it keeps the lease, and tells when the job is no longer ours."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from service.errors import QueueUnavailable
from service.jobs.queue.leases import Claim, LeaseManager

HEARTBEAT_SECONDS: Final = 0.4
"""Also how soon an attempt learns that its job was cancelled."""
RETRY_SECONDS: Final = 1.0

log = logging.getLogger(__name__)


class Heartbeat:
    """Beats beside the work; whoever does the work writes down how far it is."""

    def __init__(self, lease_manager: LeaseManager, claim: Claim) -> None:
        self._lease_manager = lease_manager
        self._claim = claim
        self._lock = asyncio.Lock()
        self._is_settled = False
        self.frames_done = 0
        self.frames_expected: int | None = None

    async def run(self) -> None:
        """Beat until the attempt is settled; raises AttemptSuperseded when the job is lost.

        While the queue is away nobody can take the job either: see lua/prelude.lua, keep_pulse.
        """
        while not self._is_settled:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            async with self._lock:
                if not self._is_settled:
                    await self._renew_lease()

    async def settle(self, step: Callable[[], Awaitable[None]]) -> None:
        """Take the step that ends the attempt, again and again while the queue is away.

        What `step` raises otherwise ends the beat too: AttemptSuperseded, as a rule.
        """
        while not self._is_settled:
            async with self._lock:
                try:
                    await step()
                    self._is_settled = True
                except QueueUnavailable as error:
                    log.warning("job %s: its end is not told yet: %s", self._claim.job_id, error)
                    await asyncio.sleep(RETRY_SECONDS)

    async def _renew_lease(self) -> None:
        try:
            await self._lease_manager.renew(self._claim, self.frames_done, self.frames_expected)
        except QueueUnavailable as error:
            log.warning("job %s: no beat: %s", self._claim.job_id, error)
