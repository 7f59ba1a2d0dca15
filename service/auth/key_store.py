"""Store of the API keys in Redis: create, list, revoke and find by token."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from service.auth.api_key import ApiKey, Token, from_redis_hash, new_token, to_redis_hash
from service.domain.caller import CallerQuotas, Scope
from service.errors import QueueUnavailable
from service.redis_client.client import Redis, connect_redis, list_members, redis_errors_translated
from service.settings import Settings

CACHE_SECONDS: Final = 1.0
"""Lifetime of a cached key: the longest that a gateway accepts a revoked one."""
MAX_CACHED_KEYS: Final = 4096
LAST_USED_RESOLUTION_SECONDS: Final = 60.0
"""Minimum time between two writes of the time of last use."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _CachedKey:
    """A key as read from Redis; fresh_until: monotonic seconds."""

    key: ApiKey
    digest: str
    fresh_until: float


class ApiKeyStore:
    """API keys in Redis, cached for a second; each method may raise QueueUnavailable."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._prefix = f"{settings.queue_name}:access"
        self._cache: dict[str, _CachedKey] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncGenerator[Self]:
        """Open a store with its own connections; needs no reachable Redis."""
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
        """Create a key; returns its token too, which cannot be retrieved later."""
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
        """All keys, oldest first, including revoked ones."""
        async with redis_errors_translated():
            ids = await list_members(self._redis, f"{self._prefix}:keys")
            return [from_redis_hash(await self._read_hash(key_id)) for key_id in ids]

    async def revoke(self, key_id: str) -> ApiKey:
        """Revoke a key permanently; raises KeyError if there is none with this id."""
        async with redis_errors_translated():
            if not await self._redis.exists(self._redis_key(key_id)):
                raise KeyError(key_id)
            await self._redis.hsetnx(self._redis_key(key_id), "revoked_at", str(time.time()))
            return from_redis_hash(await self._read_hash(key_id))

    async def find(self, token: Token) -> ApiKey | None:
        """The key of a token, valid or not; None if there is none."""
        cached = await self._load(token.key_id)
        if cached is None or not hmac.compare_digest(cached.digest, token.digest):
            return None
        key = await self._record_use(cached.key)
        self._cache[key.id] = replace(cached, key=key)
        return key

    async def get(self, key_id: str) -> ApiKey | None:
        """The key with this id, at most CACHE_SECONDS old; None if there is none."""
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
        """Store the time of use, at most once a minute; a failure to write it is only logged."""
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
            log.warning("last use of API key %s not recorded: %s", key.id, error)
            return key
        return replace(key, last_used_at=now)

    async def _read_hash(self, key_id: str) -> dict[str, str]:
        found: Any = await self._redis.hgetall(self._redis_key(key_id))
        return found

    def _redis_key(self, key_id: str) -> str:
        return f"{self._prefix}:key:{key_id}"
