"""All API keys, in Redis: made, listed, revoked, and found by their tokens."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from redis.asyncio import Redis

from service.access.keys import ApiKey, from_fields, to_fields
from service.access.token import Token, new_token
from service.domain.caller import Limits, Scope
from service.errors import QueueUnavailable
from service.jobs.connection import connect, reaching_redis
from service.settings import Settings

CACHE_SECONDS: Final = 1.0
"""For how long a gateway goes by what it has read: a revoked key lives on no longer than this."""
CACHED_KEYS: Final = 4096
LAST_USED_SECONDS: Final = 60.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """A key that was found, and until when (monotonic) it need not be looked for."""

    key: ApiKey
    digest: str
    until: float


class KeyRing:
    """Raises QueueUnavailable from each method that needs Redis when it is away."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._prefix = f"{settings.queue_name}:access"
        self._known: dict[str, _Known] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncGenerator[Self]:
        """A ring with its own connections; succeeds whether Redis is there or not."""
        async with connect(settings.redis_url) as redis:
            yield cls(redis, settings)

    async def create(
        self,
        name: str,
        *,
        scopes: frozenset[Scope],
        limits: Limits,
        lifetime_seconds: float | None = None,
    ) -> tuple[ApiKey, Token]:
        """A new key and its token, which nobody can be shown again."""
        token, now = new_token(), time.time()
        expires_at = None if lifetime_seconds is None else now + lifetime_seconds
        key = ApiKey(
            id=token.key_id,
            name=name,
            scopes=scopes,
            limits=limits,
            created_at=now,
            expires_at=expires_at,
        )
        async with reaching_redis(), self._redis.pipeline(transaction=True) as both:
            fields = to_fields(key, token.digest)
            both.hset(self._key(key.id), items=[part for pair in fields.items() for part in pair])
            both.zadd(f"{self._prefix}:keys", {key.id: now})
            await both.execute()
        return key, token

    async def every(self) -> list[ApiKey]:
        """All keys, the oldest first, revoked ones too."""
        async with reaching_redis():
            ids = await self._redis.zrange(f"{self._prefix}:keys", 0, -1)
            return [from_fields(await self._read(str(key_id))) for key_id in ids]

    async def revoke(self, key_id: str) -> ApiKey:
        """End a key for good; raises KeyError if there is none with this id."""
        async with reaching_redis():
            if not await self._redis.exists(self._key(key_id)):
                raise KeyError(key_id)
            await self._redis.hsetnx(self._key(key_id), "revoked_at", str(time.time()))
            return from_fields(await self._read(key_id))

    async def find(self, token: Token) -> ApiKey | None:
        """The key of a token, whether it still opens anything or not; None if there is none."""
        known = await self._look(token.key_id)
        if known is None or not hmac.compare_digest(known.digest, token.digest):
            return None
        key = await self._touch(known.key)
        self._known[key.id] = replace(known, key=key)
        return key

    async def get(self, key_id: str) -> ApiKey | None:
        """The key as it was within CACHE_SECONDS; None if there is none."""
        known = await self._look(key_id)
        return None if known is None else known.key

    async def _look(self, key_id: str) -> _Known | None:
        known = self._known.get(key_id)
        if known is not None and time.monotonic() < known.until:
            return known
        self._known.pop(key_id, None)
        until = time.monotonic() + CACHE_SECONDS
        async with reaching_redis():
            found = await self._read(key_id)
        if not found:
            return None
        if len(self._known) >= CACHED_KEYS:
            self._known.clear()
        known = _Known(key=from_fields(found), digest=found["digest"], until=until)
        self._known[key_id] = known
        return known

    async def _touch(self, key: ApiKey) -> ApiKey:
        """Remember that a key is in use, once a minute at most; a Redis that is full may not."""
        now = time.time()
        if key.refusal(now) or now - (key.last_used_at or 0.0) < LAST_USED_SECONDS:
            return key
        try:
            async with reaching_redis():
                await self._redis.hset(self._key(key.id), "last_used_at", str(now))
        except QueueUnavailable as error:
            log.warning("the last use of key %s is not recorded: %s", key.id, error)
            return key
        return replace(key, last_used_at=now)

    async def _read(self, key_id: str) -> dict[str, str]:
        found: Any = await self._redis.hgetall(self._key(key_id))
        return found

    def _key(self, key_id: str) -> str:
        return f"{self._prefix}:key:{key_id}"
