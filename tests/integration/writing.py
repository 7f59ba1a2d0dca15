"""Writes to Redis the way the jobs room makes them: by a script."""

from __future__ import annotations

from redis.asyncio import Redis

from service.jobs.connection import reaching_redis

ADD = "redis.call('RPUSH', KEYS[1], ARGV[1]) return 1"


async def add(client: Redis, value: str) -> None:
    async with reaching_redis():
        await client.register_script(ADD)(keys=["list"], args=[value])


async def listed(client: Redis) -> list[str]:
    async with reaching_redis():
        return await client.lrange("list", 0, -1)
