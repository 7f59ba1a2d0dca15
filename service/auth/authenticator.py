"""Authentication and authorization of callers by API key, and the rate limit of each key.

The rate limit is one token bucket per API key in Redis, shared by all gateways: it holds a
minute's requests and refills evenly. One script does it in one round trip and by Redis' own clock;
the library `limits` needs two round trips, its own connections, and the clocks of the gateways.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from typing import Final, Self

from service.auth.api_key import ApiKey, parse_api_key
from service.auth.key_store import ApiKeyStore
from service.domain.caller import ANONYMOUS, Caller, CallerQuotas, Scope, address_id
from service.errors import (
    AccessModeUnset,
    QueueUnavailable,
    RateExceeded,
    ScopeMissing,
    Unauthenticated,
)
from service.redis_client.client import Redis, ScriptLibrary, connect_redis
from service.settings import Settings

RECHECK_SECONDS: Final = 1.0
"""Pause between two checks of the API key of a call in progress."""
BUCKET_SECONDS: Final = 60
"""Time in which an empty token bucket refills."""


class Authenticator:
    """Identifies callers, counts their requests and checks their scopes."""

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
        """Open an authenticator with its own connections; needs no reachable Redis.

        Raises: AccessModeUnset.
        """
        async with connect_redis(settings.redis_url) as redis:
            yield cls(ApiKeyStore(redis, settings), RateLimiter(redis, settings), settings)

    async def identify(self, credential: str | None, address: str | None = None) -> Caller:
        """The caller with this API key; ANONYMOUS, with its address, if the gateway needs no key.

        Raises: Unauthenticated, QueueUnavailable.
        """
        if not self.requires_keys:
            limits = replace(self._default_limits, requests_per_minute=None, upload_bytes=None)
            return replace(ANONYMOUS, address_id=address_id(address), limits=limits)
        if credential is None:
            raise Unauthenticated("send an API key as 'Authorization: Bearer' or 'X-API-Key'")
        token = parse_api_key(credential)
        return self._to_caller(
            self._require_valid(None if token is None else await self._key_store.find(token))
        )

    async def recheck(self, caller: Caller) -> None:
        """Check that the key of an identified caller is still valid.

        Raises: Unauthenticated: the key was revoked or has expired. QueueUnavailable.
        """
        if self.requires_keys:
            self._require_valid(await self._key_store.get(caller.owner))

    async def authorize(self, caller: Caller, scope: Scope) -> None:
        """Count the request against the caller's rate limit and check the scope.

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


@asynccontextmanager
async def while_authorized(authenticator: Authenticator, caller: Caller) -> AsyncGenerator[None]:
    """Cancel the body of the context when the caller's API key is revoked or expires.

    The key is rechecked every second; during a Redis outage it counts as valid.

    Raises: Unauthenticated.
    """
    deadline = asyncio.timeout(None)
    recheck = asyncio.create_task(
        _wait_until_unauthorized(authenticator, caller, deadline), name="recheck of an API key"
    )
    try:
        async with deadline:
            yield
    except TimeoutError:
        if not (deadline.expired() and recheck.done()):
            raise
        raise recheck.result() from None
    finally:
        recheck.cancel()


async def _wait_until_unauthorized(
    authenticator: Authenticator, caller: Caller, deadline: asyncio.Timeout
) -> Unauthenticated:
    """Expire the deadline when the key becomes invalid; returns the reason."""
    while True:
        await asyncio.sleep(RECHECK_SECONDS)
        try:
            await authenticator.recheck(caller)
        except Unauthenticated as error:
            deadline.reschedule(asyncio.get_running_loop().time())
            return error
        except QueueUnavailable:
            continue


def requires_keys(settings: Settings) -> bool:
    """Return True if the gateway requires API keys.

    Raises: AccessModeUnset: `access` is `auto` and `host` is not a loopback address.
    """
    if settings.access == "auto" and not is_loopback(settings.host):
        raise AccessModeUnset(
            f"The gateway would listen on {settings.host}, where others can reach it. Create an "
            "API key with 'circumplex keys create NAME' and set CIRCUMPLEX_ACCESS=keys, or allow "
            "access without keys with CIRCUMPLEX_ACCESS=open."
        )
    return settings.access == "keys"


def is_loopback(host: str) -> bool:
    """Return True if a listen address is reachable from this machine only; False if in doubt."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _default_limits(settings: Settings) -> CallerQuotas:
    """Limits of callers that have no other; of an address: those of jobs and stored bytes."""
    open_jobs = max(round(settings.max_queued_jobs * settings.client_share), 1)
    return CallerQuotas(
        requests_per_minute=settings.key_requests_per_minute,
        open_jobs=settings.key_open_jobs or open_jobs,
        stored_jobs=settings.key_stored_jobs,
        stored_bytes=settings.key_stored_bytes,
        upload_bytes=settings.key_upload_bytes,
    )


class RateLimiter:
    """Token buckets in Redis: limits the requests per minute of every caller that has a limit."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._prefix = f"{settings.queue_name}:access:rate"
        self._scripts = ScriptLibrary(redis, "service.auth", ["acquire"])

    async def acquire(self, caller: Caller) -> None:
        """Count one request; raises RateExceeded or QueueUnavailable."""
        max_requests = caller.limits.requests_per_minute
        if max_requests is None:
            return
        wait_seconds = float(
            await self._scripts.run(
                "acquire", [f"{self._prefix}:{caller.owner}"], [max_requests, BUCKET_SECONDS]
            )
        )
        if wait_seconds > 0:
            raise RateExceeded(
                f"the API key {caller.owner} may make {max_requests} requests a minute",
                retry_seconds=wait_seconds,
            )
