"""Decides who asks and whether they may."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import Self

from service.auth.api_key import ApiKey
from service.auth.key_store import ApiKeyStore
from service.auth.rate_limiter import RateLimiter
from service.auth.token import parse_api_key
from service.domain.caller import ANONYMOUS, Caller, CallerQuotas, Scope
from service.errors import AccessModeUnset, ScopeMissing, Unauthenticated
from service.redis_client.client import connect_redis
from service.settings import Settings


class Authenticator:
    """What every request passes before anything else is done for it."""

    def __init__(
        self, key_store: ApiKeyStore, rate_limiter: RateLimiter, settings: Settings
    ) -> None:
        self._key_store = key_store
        self._rate_limiter = rate_limiter
        self._default_limits = _default_limits(settings)
        self.requires_keys = requires_keys(settings)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncGenerator[Self]:
        """A gate with its own connections; succeeds whether Redis is there or not.

        Raises: AccessUndecided.
        """
        async with connect_redis(settings.redis_url) as redis:
            yield cls(ApiKeyStore(redis, settings), RateLimiter(redis, settings), settings)

    async def identify(self, credential: str | None) -> Caller:
        """Who holds this API key; ANYONE where none is asked for.

        Raises: Unauthenticated, QueueUnavailable.
        """
        if not self.requires_keys:
            return ANONYMOUS
        if credential is None:
            raise Unauthenticated("send an API key as 'Authorization: Bearer' or 'X-API-Key'")
        token = parse_api_key(credential)
        return self._to_caller(
            self._require_valid(None if token is None else await self._key_store.find(token))
        )

    async def recheck(self, caller: Caller) -> None:
        """Whether who was let in a while ago still would be.

        Raises: Unauthenticated: the key has been revoked or has expired. QueueUnavailable.
        """
        if self.requires_keys:
            self._require_valid(await self._key_store.get(caller.owner))

    async def authorize(self, caller: Caller, scope: Scope) -> None:
        """Count the request and let it pass.

        Raises: RateExceeded, ScopeMissing, QueueUnavailable.
        """
        await self._rate_limiter.acquire(caller)
        if not caller.allows(scope):
            raise ScopeMissing(f"the API key {caller.owner} lacks the scope '{scope}'")

    def _require_valid(self, key: ApiKey | None) -> ApiKey:
        if key is None:
            raise Unauthenticated("there is no such API key")
        if reason := key.rejection_reason(time.time()):
            raise Unauthenticated(reason)
        return key

    def _to_caller(self, key: ApiKey) -> Caller:
        own, default = key.limits, self._default_limits
        limits = {
            name: getattr(default if getattr(own, name) is None else own, name)
            for name in (each.name for each in fields(CallerQuotas))
        }
        return Caller(owner=key.id, name=key.name, scopes=key.scopes, limits=CallerQuotas(**limits))


def requires_keys(settings: Settings) -> bool:
    """Whether the gateway is closed to those without a key.

    Raises: AccessUndecided: it could be reached from elsewhere, and nobody has said.
    """
    if settings.access == "auto" and not is_loopback(settings.host):
        raise AccessModeUnset(
            f"The gateway would listen on {settings.host}, where others can reach it. Create an "
            "API key with 'circumplex keys create NAME' and set CIRCUMPLEX_ACCESS=keys, or let "
            "everybody in with CIRCUMPLEX_ACCESS=open."
        )
    return settings.access == "keys"


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is for this machine alone; in doubt it is not."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _default_limits(settings: Settings) -> CallerQuotas:
    return CallerQuotas(
        requests_per_minute=settings.key_requests_per_minute,
        open_jobs=settings.key_open_jobs,
        stored_bytes=settings.key_stored_bytes,
        upload_bytes=settings.key_upload_bytes,
    )
