"""Decides who asks and whether they may."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import Self

from service.access.keyring import KeyRing
from service.access.keys import ApiKey
from service.access.rates import Rates
from service.access.token import read_token
from service.domain.caller import ANYONE, Caller, Limits, Scope
from service.errors import AccessUndecided, ScopeMissing, Unauthenticated
from service.jobs.connection import connect
from service.settings import Settings


class Gate:
    """What every request passes before anything else is done for it."""

    def __init__(self, keys: KeyRing, rates: Rates, settings: Settings) -> None:
        self._keys = keys
        self._rates = rates
        self._defaults = _defaults(settings)
        self.asks_for_keys = asks_for_keys(settings)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncGenerator[Self]:
        """A gate with its own connections; succeeds whether Redis is there or not.

        Raises: AccessUndecided.
        """
        async with connect(settings.redis_url) as redis:
            yield cls(KeyRing(redis, settings), Rates(redis, settings), settings)

    async def identify(self, credential: str | None) -> Caller:
        """Who holds this API key; ANYONE where none is asked for.

        Raises: Unauthenticated, QueueUnavailable.
        """
        if not self.asks_for_keys:
            return ANYONE
        if credential is None:
            raise Unauthenticated("send an API key as 'Authorization: Bearer' or 'X-API-Key'")
        token = read_token(credential)
        return self._caller(self._good(None if token is None else await self._keys.find(token)))

    async def confirm(self, caller: Caller) -> None:
        """Whether who was let in a while ago still would be.

        Raises: Unauthenticated: the key has been revoked or has expired. QueueUnavailable.
        """
        if self.asks_for_keys:
            self._good(await self._keys.get(caller.owner))

    async def admit(self, caller: Caller, scope: Scope) -> None:
        """Count the request and let it pass.

        Raises: RateExceeded, ScopeMissing, QueueUnavailable.
        """
        await self._rates.take(caller)
        if not caller.allows(scope):
            raise ScopeMissing(f"the API key {caller.owner} lacks the scope '{scope}'")

    def _good(self, key: ApiKey | None) -> ApiKey:
        if key is None:
            raise Unauthenticated("there is no such API key")
        if refusal := key.refusal(time.time()):
            raise Unauthenticated(refusal)
        return key

    def _caller(self, key: ApiKey) -> Caller:
        own, default = key.limits, self._defaults
        limits = {
            name: getattr(default if getattr(own, name) is None else own, name)
            for name in (each.name for each in fields(Limits))
        }
        return Caller(owner=key.id, name=key.name, scopes=key.scopes, limits=Limits(**limits))


def asks_for_keys(settings: Settings) -> bool:
    """Whether the gateway is closed to those without a key.

    Raises: AccessUndecided: it could be reached from elsewhere, and nobody has said.
    """
    if settings.access == "auto" and not is_loopback(settings.host):
        raise AccessUndecided(
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


def _defaults(settings: Settings) -> Limits:
    return Limits(
        requests_per_minute=settings.key_requests_per_minute,
        open_jobs=settings.key_open_jobs,
        stored_bytes=settings.key_stored_bytes,
        upload_bytes=settings.key_upload_bytes,
    )
