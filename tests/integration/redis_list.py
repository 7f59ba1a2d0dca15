"""Writes to Redis the way the jobs room makes them: by a script."""

from __future__ import annotations

from redis.asyncio import Redis

from service.redis_client.client import redis_errors_translated

PUSH_SCRIPT = "redis.call('RPUSH', KEYS[1], ARGV[1]) return 1"


async def push_value(client: Redis, value: str) -> None:
    async with redis_errors_translated():
        await client.register_script(PUSH_SCRIPT)(keys=["list"], args=[value])


async def list_values(client: Redis) -> list[str]:
    async with redis_errors_translated():
        return await client.lrange("list", 0, -1)
