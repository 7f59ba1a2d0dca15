"""Idempotency keys: reserved during an upload, then bound to the job that was submitted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Final
from uuid import uuid4

from service.errors import IdempotencyKeyInUse
from service.jobs.queue.database import QueueDatabase

RESERVATION_SECONDS: Final = 20.0
"""Lifetime of a reservation that is not renewed, as after the loss of its gateway."""
MAX_KEY_RETRY_SECONDS: Final = 5.0
"""Longest advised wait for a reserved key: its upload may end at any moment."""
KEY_RENEW_SECONDS: Final = RESERVATION_SECONDS / 4
"""Interval at which an upload renews its reservation."""
KEY_TTL_SECONDS: Final = 24 * 3600
"""Lifetime of a key that is bound to a job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Key reserved by one upload; the fingerprint of the request is known at the upload's end."""

    key: str
    token: str
    fingerprint: str = ""

    def with_fingerprint(self, fingerprint: str) -> Reservation:
        """Return the reservation with the fingerprint of its request."""
        return replace(self, fingerprint=fingerprint)

    def to_script_arguments(self) -> tuple[str, str, int]:
        """Return the arguments of the script `submit`."""
        return self.key, self.fingerprint, KEY_TTL_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorSubmission:
    """Earlier request that a key is bound to, and its job."""

    job_id: str
    fingerprint: str


class IdempotencyKeys:
    """Idempotency keys by owner; every method raises QueueUnavailable."""

    def __init__(self, database: QueueDatabase) -> None:
        self._database = database

    async def reserve(self, owner: str, key: str) -> Reservation | PriorSubmission:
        """Reserve a key before its upload starts.

        Raises: IdempotencyKeyInUse: another upload has reserved it.
        """
        digest = hashlib.sha256(key.encode()).hexdigest()
        return await self._reserve(Reservation(key=f"{owner}:{digest}", token=uuid4().hex))

    async def renew(self, reservation: Reservation) -> None:
        """Prolong a reservation; due every KEY_RENEW_SECONDS during the upload."""
        await self._reserve(reservation)

    async def release(self, reservation: Reservation) -> None:
        """Release the key of an upload that was abandoned."""
        await self._database.run_script("release_key", reservation.key, reservation.token)

    async def _reserve(self, reservation: Reservation) -> Reservation | PriorSubmission:
        verdict, *found = await self._database.run_script(
            "reserve_key", reservation.key, reservation.token, int(RESERVATION_SECONDS)
        )
        if verdict == "earlier":
            return PriorSubmission(job_id=found[0], fingerprint=found[1])
        if verdict == "in_use":
            raise IdempotencyKeyInUse(
                retry_seconds=min(max(float(found[0]), 1.0), MAX_KEY_RETRY_SECONDS)
            )
        return reservation
