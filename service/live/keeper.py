"""Keeps one stream in the archive while it lives."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Final

from circumplex.v1 import annotation_pb2 as wire

from service.errors import QueueUnavailable
from service.live.archive import MAX_STORED_RESPONSES, CheckpointStore, StreamClaim
from service.live.pieces import MediaPosition
from service.live.token import ResumeToken

RENEW_SECONDS: Final = 1.0
"""So often a session looks whether another has taken its stream over."""

log = logging.getLogger(__name__)


class CheckpointWriter:
    """Writes states and told results, and knows whether the stream could be resumed now."""

    def __init__(
        self,
        checkpoint_store: CheckpointStore,
        claim: StreamClaim,
        *,
        response_count: int = 0,
        is_resumed: bool = False,
    ) -> None:
        """Args: entries: told before this session, and kept. is_resumed: from what is kept."""
        self._checkpoint_store = checkpoint_store
        self._claim = claim
        self._pending: list[bytes] = []
        self._first_pending_index = response_count
        self._has_checkpoint = is_resumed
        self._is_outage_logged = False
        self._retained_until = time.monotonic() + checkpoint_store.retention_seconds

    @property
    def is_resumable(self) -> bool:
        """Whether somebody who is cut off now can go on."""
        return self._has_checkpoint and time.monotonic() < self._retained_until

    def make_resume_token(self, index: int) -> str:
        """To go on behind the final result of this frame; empty where that cannot be done."""
        token = ResumeToken(stream_id=self._claim.stream_id, index=index)
        return str(token) if self.is_resumable else ""

    def record_responses(self, responses: Sequence[wire.StreamingAnnotateResponse]) -> None:
        """These are told; they are kept with the next state."""
        self._pending += [each.SerializeToString() for each in responses]
        surplus = max(0, len(self._pending) - MAX_STORED_RESPONSES)
        del self._pending[:surplus]
        self._first_pending_index += surplus

    async def save(self, state: bytes, received: MediaPosition) -> bool:
        """Keep this state and what was noted before it; False: Redis is away, another time.

        Raises: StreamSuperseded.
        """
        first, told = self._first_pending_index, [*self._pending]
        try:
            await self._checkpoint_store.write_checkpoint(self._claim, state, received, first, told)
        except QueueUnavailable as error:
            self._log_outage_once(error)
            return False
        written = first + len(told) - self._first_pending_index
        del self._pending[:written]
        self._first_pending_index += written
        self._has_checkpoint = True
        self._mark_retained()
        return True

    @property
    def renew_seconds(self) -> float:
        """So often `look` has to be called."""
        return min(RENEW_SECONDS, self._checkpoint_store.retention_seconds / 4)

    async def renew(self, received: MediaPosition) -> None:
        """Keep what is kept for longer; raises StreamSuperseded."""
        try:
            if await self._checkpoint_store.renew(self._claim, received):
                self._mark_retained()
            else:
                self._has_checkpoint = False
        except QueueUnavailable as error:
            self._log_outage_once(error)

    def _log_outage_once(self, error: QueueUnavailable) -> None:
        """Say once, until it is over, that nothing is kept."""
        if not self._is_outage_logged:
            log.warning("stream: what comes now is not kept to be resumed: %s", error.detail)
        self._is_outage_logged = True

    def _mark_retained(self) -> None:
        self._is_outage_logged = False
        self._retained_until = time.monotonic() + self._checkpoint_store.retention_seconds
