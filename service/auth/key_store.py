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

from service.auth.api_key import ApiKey, from_redis_hash, to_redis_hash
from service.auth.token import Token, new_token
from service.domain.caller import CallerQuotas, Scope
from service.errors import QueueUnavailable
from service.redis_client.client import connect_redis, redis_errors_translated
from service.settings import Settings

CACHE_SECONDS: Final = 1.0
"""For how long a gateway goes by what it has read: a revoked key lives on no longer than this."""
MAX_CACHED_KEYS: Final = 4096
LAST_USED_RESOLUTION_SECONDS: Final = 60.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _CachedKey:
    """A key that was found, and until when (monotonic) it need not be looked for."""

    key: ApiKey
    digest: str
    fresh_until: float


class ApiKeyStore:
    """Raises QueueUnavailable from each method that needs Redis when it is away."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._prefix = f"{settings.queue_name}:access"
        self._cache: dict[str, _CachedKey] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncGenerator[Self]:
        """A ring with its own connections; succeeds whether Redis is there or not."""
        async with connect_redis(settings.redis_url) as redis:
            yield cls(redis, settings)

    async def create(
        self,
        name: str,
        *,
        scopes: frozenset[Scope],
        limits: CallerQuotas,
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
        async with redis_errors_translated(), self._redis.pipeline(transaction=True) as pipeline:
            fields = to_redis_hash(key, token.digest)
            pipeline.hset(
                self._redis_key(key.id), items=[part for pair in fields.items() for part in pair]
            )
            pipeline.zadd(f"{self._prefix}:keys", {key.id: now})
            await pipeline.execute()
        return key, token

    async def list_keys(self) -> list[ApiKey]:
        """All keys, the oldest first, revoked ones too."""
        async with redis_errors_translated():
            ids = await self._redis.zrange(f"{self._prefix}:keys", 0, -1)
            return [from_redis_hash(await self._read_hash(str(key_id))) for key_id in ids]

    async def revoke(self, key_id: str) -> ApiKey:
        """End a key for good; raises KeyError if there is none with this id."""
        async with redis_errors_translated():
            if not await self._redis.exists(self._redis_key(key_id)):
                raise KeyError(key_id)
            await self._redis.hsetnx(self._redis_key(key_id), "revoked_at", str(time.time()))
            return from_redis_hash(await self._read_hash(key_id))

    async def find(self, token: Token) -> ApiKey | None:
        """The key of a token, whether it still opens anything or not; None if there is none."""
        cached = await self._load(token.key_id)
        if cached is None or not hmac.compare_digest(cached.digest, token.digest):
            return None
        key = await self._record_use(cached.key)
        self._cache[key.id] = replace(cached, key=key)
        return key

    async def get(self, key_id: str) -> ApiKey | None:
        """The key as it was within CACHE_SECONDS; None if there is none."""
        cached = await self._load(key_id)
        return None if cached is None else cached.key

    async def _load(self, key_id: str) -> _CachedKey | None:
        cached = self._cache.get(key_id)
        if cached is not None and time.monotonic() < cached.fresh_until:
            return cached
        self._cache.pop(key_id, None)
        fresh_until = time.monotonic() + CACHE_SECONDS
        async with redis_errors_translated():
            found = await self._read_hash(key_id)
        if not found:
            return None
        if len(self._cache) >= MAX_CACHED_KEYS:
            self._cache.clear()
        cached = _CachedKey(
            key=from_redis_hash(found), digest=found["digest"], fresh_until=fresh_until
        )
        self._cache[key_id] = cached
        return cached

    async def _record_use(self, key: ApiKey) -> ApiKey:
        """Remember that a key is in use, once a minute at most; a Redis that is full may not."""
        now = time.time()
        if (
            key.rejection_reason(now)
            or now - (key.last_used_at or 0.0) < LAST_USED_RESOLUTION_SECONDS
        ):
            return key
        try:
            async with redis_errors_translated():
                await self._redis.hset(self._redis_key(key.id), "last_used_at", str(now))
        except QueueUnavailable as error:
            log.warning("the last use of key %s is not recorded: %s", key.id, error)
            return key
        return replace(key, last_used_at=now)

    async def _read_hash(self, key_id: str) -> dict[str, str]:
        found: Any = await self._redis.hgetall(self._redis_key(key_id))
        return found

    def _redis_key(self, key_id: str) -> str:
        return f"{self._prefix}:key:{key_id}"
