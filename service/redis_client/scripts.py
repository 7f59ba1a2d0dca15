"""The Lua scripts of this room: each is one step in the life of a job, whole or not at all."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, Final

from redis.asyncio import Redis

from service.redis_client.client import redis_errors_translated

PRELUDE: Final = "prelude"
ALL_OWNERS: Final = "*"
"""The owner of everybody's lists and bytes, as the prelude has it."""
SCRIPTS: Final = (
    "adopt",
    "beat",
    "cancel",
    "claim",
    "drop_clips",
    "expire",
    "finish",
    "put_back",
    "release",
    "remove",
    "reserve",
    "retry",
    "submit",
)


class LuaScripts:
    """Runs the scripts for the queue of one name; a script that is sent twice works once."""

    def __init__(self, redis: Redis, queue_name: str) -> None:
        self._queue_name = queue_name
        self._scripts = {name: redis.register_script(load_script(name)) for name in SCRIPTS}

    async def run(self, name: str, *arguments: str | float) -> Any:
        """What the script `name` returns; raises QueueUnavailable."""
        async with redis_errors_translated():
            return await self._scripts[name](keys=[self._queue_name], args=list(arguments))

    def key(self, *parts: str) -> str:
        """A key as the scripts name it."""
        return ":".join((self._queue_name, *parts))


@cache
def load_script(name: str) -> str:
    """The text of a script, what all of them share before it."""
    folder = files("service.jobs.queue") / "lua"
    return "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in (PRELUDE, name))
