"""How often each key may ask: a bucket of requests in Redis, shared by all gateways.

A bucket holds a minute's requests and fills evenly. Ours and not the library `limits`, whose
windows take two exchanges to say when to come back, by the clock of whichever gateway asks,
over connections that it opens itself.
"""

from __future__ import annotations

from typing import Final

from redis.asyncio import Redis

from service.domain.caller import Caller
from service.errors import RateExceeded
from service.redis_client.client import redis_errors_translated
from service.settings import Settings

BUCKET_SECONDS: Final = 60

_ACQUIRE_SCRIPT: Final = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local bucket = tonumber(ARGV[2])
local full_at = tonumber(redis.call('GET', KEYS[1]) or now)
full_at = math.min(math.max(full_at, now), now + bucket) + bucket / ARGV[1]
local wait = full_at - now - bucket
if wait > 0.001 then return tostring(wait) end
redis.call('SET', KEYS[1], string.format('%.6f', full_at), 'EX', bucket + 1)
return '0'
"""
"""KEYS: the bucket, kept as the time at which it is full again. ARGV: requests, seconds.

Answers 0, or for how many seconds there is nothing in the bucket: then nothing is taken.
"""


class RateLimiter:
    """Counts the requests of every caller that has a limit."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._prefix = f"{settings.queue_name}:access:rate"
        self._acquire_script = redis.register_script(_ACQUIRE_SCRIPT)

    async def acquire(self, caller: Caller) -> None:
        """Count one request; raises RateExceeded or QueueUnavailable."""
        max_requests = caller.limits.requests_per_minute
        if max_requests is None:
            return
        async with redis_errors_translated():
            wait_seconds = await self._acquire_script(
                keys=[f"{self._prefix}:{caller.owner}"], args=[max_requests, BUCKET_SECONDS]
            )
        if float(wait_seconds) > 0:
            raise RateExceeded(
                f"the API key {caller.owner} may make {max_requests} requests a minute",
                retry_seconds=float(wait_seconds),
            )
