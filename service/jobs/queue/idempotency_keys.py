"""One job for one idempotency key, however often and from wherever it is submitted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Final
from uuid import uuid4

from service.errors import IdempotencyKeyInUse
from service.redis_client.scripts import LuaScripts

RESERVATION_SECONDS: Final = 20.0
"""For how long a key is taken by an upload that has stopped renewing it: its gateway is gone."""
MAX_RETRY_SECONDS: Final = 5.0
"""When to ask again for a key that is taken, at most: its upload may end any moment."""
RENEW_SECONDS: Final = RESERVATION_SECONDS / 4
KEY_TTL_SECONDS: Final = 24 * 3600
"""For how long a key stands for its job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A key that one upload has taken; the request's fingerprint is known at its end."""

    key: str
    token: str
    fingerprint: str = ""

    def with_fingerprint(self, fingerprint: str) -> Reservation:
        """The same, at the end of its upload."""
        return replace(self, fingerprint=fingerprint)

    def to_script_arguments(self) -> tuple[str, str, int]:
        """What the script `submit` takes of it."""
        return self.key, self.fingerprint, KEY_TTL_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorSubmission:
    """What the key stands for: an earlier request and its job."""

    job_id: str
    fingerprint: str


class IdempotencyKeys:
    """Keys of each owner; raises QueueUnavailable when Redis is away."""

    def __init__(self, scripts: LuaScripts) -> None:
        self._scripts = scripts

    async def reserve(self, owner: str, key: str) -> Reservation | PriorSubmission:
        """Take a key before the upload starts.

        Raises: IdempotencyKeyInUse: another upload has it now.
        """
        digest = hashlib.sha256(key.encode()).hexdigest()
        return await self._reserve(Reservation(key=f"{owner}:{digest}", token=uuid4().hex))

    async def renew(self, reservation: Reservation) -> None:
        """Keep it while the upload goes on, every RENEW_SECONDS."""
        await self._reserve(reservation)

    async def release(self, reservation: Reservation) -> None:
        """Give it back: the upload has come to nothing."""
        await self._scripts.run("release", reservation.key, reservation.token)

    async def _reserve(self, reservation: Reservation) -> Reservation | PriorSubmission:
        verdict, *found = await self._scripts.run(
            "reserve", reservation.key, reservation.token, int(RESERVATION_SECONDS)
        )
        if verdict == "earlier":
            return PriorSubmission(job_id=found[0], fingerprint=found[1])
        if verdict == "in_use":
            raise IdempotencyKeyInUse(
                retry_seconds=min(max(float(found[0]), 1.0), MAX_RETRY_SECONDS)
            )
        return reservation
