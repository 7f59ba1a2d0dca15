"""Typed access to Redis for tests."""

from __future__ import annotations

from typing import Any, cast

from service.redis_client.client import Redis, redis_errors_translated

PUSH_SCRIPT = "redis.call('RPUSH', KEYS[1], ARGV[1]) return 1"


async def run_command(redis: Redis, *words: str | float) -> Any:
    """Run a command that redis-py leaves untyped; its errors are not translated."""
    return cast("Any", await redis.execute_command(*words))  # pyright: ignore[reportUnknownMemberType]  # untyped


async def list_keys(redis: Redis, prefix: str) -> list[str]:
    return await run_command(redis, "KEYS", f"{prefix}*")


async def read_hash(redis: Redis, key: str) -> dict[str, str]:
    found: Any = await redis.hgetall(key)
    return found


async def push_value(redis: Redis, value: str) -> None:
    """Append to the list `list` by a script, as the job queue writes."""
    async with redis_errors_translated():
        await redis.register_script(PUSH_SCRIPT)(keys=["list"], args=[value])


async def list_values(redis: Redis) -> list[str]:
    async with redis_errors_translated():
        return await run_command(redis, "LRANGE", "list", 0, -1)
