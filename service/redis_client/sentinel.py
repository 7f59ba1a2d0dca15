"""Sentinel URLs: `redis+sentinel://user:password@host:port,host/0?master_name=m`.

User and password are those of Redis; `sentinel_username` and `sentinel_password` in the query are
those of the sentinels. `rediss+sentinel://` uses TLS for both, with the same `ssl_...` options.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

SCHEMES: Final = ("redis+sentinel", "rediss+sentinel")
SENTINEL_PORT: Final = 26379
SENTINEL_TIMEOUT_SECONDS: Final = 1.0
"""Time after which an unresponsive sentinel is skipped and the next one is asked."""

_HOST_PATTERN: Final = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([^\[\]:,@\s]+))(?::(\d{1,5}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class SentinelTopology:
    """Parsed sentinel URL: addresses, name of the master, connection options of both."""

    sentinels: tuple[tuple[str, int], ...]
    master_name: str
    redis_options: Mapping[str, Any]
    sentinel_options: Mapping[str, Any]


def is_sentinel_url(url: str) -> bool:
    """Return whether a URL is of sentinels, not of a Redis."""
    return url.partition("://")[0] in SCHEMES


def parse_sentinel_url(url: str) -> SentinelTopology:
    """Parse a URL; raises ValueError, whose message does not quote it."""
    scheme, _, rest = url.partition("://")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    tail = rest.removeprefix(authority)
    credentials, at, hosts = authority.rpartition("@")
    redis_scheme = scheme.removesuffix("+sentinel")
    options: dict[str, Any] = {**parse_url(f"{redis_scheme}://{credentials}{at}master{tail}")}
    for name in ("host", "connection_class"):
        options.pop(name, None)
    master_name = options.pop("master_name", "")
    if not master_name:
        raise ValueError("a sentinel URL needs ?master_name=")
    sentinel_options = {
        name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")
    }
    if scheme.startswith("rediss"):
        options["ssl"] = True
        sentinel_options |= {
            name: value for name, value in options.items() if name.startswith("ssl")
        }
    return SentinelTopology(
        sentinels=tuple(_parse_address(host) for host in hosts.split(",")),
        master_name=master_name,
        redis_options=options,
        sentinel_options=sentinel_options,
    )


def create_master_client(url: str, options: Mapping[str, Any]) -> Redis:
    """Create a client that connects to the current master; raises ValueError.

    Args: options: of the connections and the pool, named as in redis-py.
    """
    topology = parse_sentinel_url(url)
    sentinels = Sentinel(
        topology.sentinels,
        sentinel_kwargs={
            **topology.sentinel_options,
            "socket_timeout": SENTINEL_TIMEOUT_SECONDS,
            "socket_connect_timeout": SENTINEL_TIMEOUT_SECONDS,
            "retry": Retry(NoBackoff(), 0),
        },
    )
    return sentinels.master_for(  # pyright: ignore[reportUnknownMemberType]  # untyped options
        topology.master_name,
        connection_pool_class=_MasterPool,
        **{**options, **topology.redis_options},
    )


class _MasterPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connection pool that waits when exhausted, and closes its sentinel clients too."""

    async def aclose(self) -> None:
        """Close all connections, to master and sentinels."""
        try:
            await super().aclose()
        finally:
            await self.sentinel_manager.aclose()  # pyright: ignore[reportUnknownMemberType]  # untyped


def _parse_address(member: str) -> tuple[str, int]:
    found = _HOST_PATTERN.fullmatch(member.strip())
    if found is None:
        raise ValueError("a sentinel's address must be host or host:port")
    port = int(found[3] or SENTINEL_PORT)
    if not 0 < port < 2**16:
        raise ValueError("a sentinel's port is out of range")
    return found[1] or found[2], port
