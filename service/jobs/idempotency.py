"""One job for one idempotency key, however often and from wherever it is submitted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Final
from uuid import uuid4

from service.errors import IdempotencyKeyInUse
from service.jobs.scripts import Scripts

UPLOAD_SECONDS: Final = 20.0
"""For how long a key is taken by an upload that has stopped renewing it: its gateway is gone."""
LOOK_SECONDS: Final = 5.0
"""When to ask again for a key that is taken, at most: its upload may end any moment."""
RENEW_SECONDS: Final = UPLOAD_SECONDS / 4
KEPT_SECONDS: Final = 24 * 3600
"""For how long a key stands for its job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A key that one upload has taken; the request's fingerprint is known at its end."""

    key: str
    token: str
    fingerprint: str = ""

    def finished(self, fingerprint: str) -> Reservation:
        """The same, at the end of its upload."""
        return replace(self, fingerprint=fingerprint)

    def as_arguments(self) -> tuple[str, str, int]:
        """What the script `submit` takes of it."""
        return self.key, self.fingerprint, KEPT_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """What the key stands for: an earlier request and its job."""

    job_id: str
    fingerprint: str


class Idempotency:
    """Keys of each owner; raises QueueUnavailable when Redis is away."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def reserve(self, owner: str, key: str) -> Reservation | Earlier:
        """Take a key before the upload starts.

        Raises: IdempotencyKeyInUse: another upload has it now.
        """
        digest = hashlib.sha256(key.encode()).hexdigest()
        return await self._take(Reservation(key=f"{owner}:{digest}", token=uuid4().hex))

    async def renew(self, reservation: Reservation) -> None:
        """Keep it while the upload goes on, every RENEW_SECONDS."""
        await self._take(reservation)

    async def release(self, reservation: Reservation) -> None:
        """Give it back: the upload has come to nothing."""
        await self._scripts.run("release", reservation.key, reservation.token)

    async def _take(self, reservation: Reservation) -> Reservation | Earlier:
        verdict, *found = await self._scripts.run(
            "reserve", reservation.key, reservation.token, int(UPLOAD_SECONDS)
        )
        if verdict == "earlier":
            return Earlier(job_id=found[0], fingerprint=found[1])
        if verdict == "in_use":
            raise IdempotencyKeyInUse(retry_seconds=min(max(float(found[0]), 1.0), LOOK_SECONDS))
        return reservation
