"""What is kept of streams in Redis while they live, and for a while after they broke off.

    <queue_name>:stream:<id>         hash: owner, terms, recipe, who holds it, state
    <queue_name>:stream:<id>:told    list: the last results that were told, oldest first

Who takes a stream over leaves a mark; what a former holder writes after that does not count.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Final

from redis.asyncio import Redis

from service.errors import ResumeTokenInvalid, StreamGone, StreamSuperseded
from service.jobs.connection import connect, reaching_redis
from service.live.pieces import Position
from service.settings import Settings

TOLD_RESULTS: Final = 1024
"""So many are kept for clients that have not got them."""
REDIS_SECONDS: Final = 2.0
"""A stream does not wait longer for an answer."""
SCRIPTS: Final = ("claim", "write", "keep")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One session's hold on a stream.

    terms: what the client chose, and must choose again; recipe: what must be the same at the
    gateway that goes on; mark: this session's own.
    """

    stream_id: str
    owner: str
    terms: str
    recipe: str
    mark: str = field(default_factory=lambda: secrets.token_hex(8))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What was kept. told: the last results, of `entries` in all; received: of the media."""

    state: bytes
    received: Position
    entries: int
    told: Sequence[bytes]


class Archive:
    """Keeps streams; whatever it does raises QueueUnavailable."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        """Args: redis: one that decodes nothing."""
        self._redis = redis
        self._prefix = settings.queue_name
        self.kept_seconds = settings.stream_resume_seconds
        self._scripts = {name: redis.register_script(_source_of(name)) for name in SCRIPTS}

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncGenerator[Archive]:
        """An archive with its own connections; succeeds whether Redis is there or not.

        Raises: QueueUnavailable: the URL cannot be read.
        """
        async with connect(settings.redis_url, decodes=False) as redis:
            yield cls(redis, settings)

    async def begin(self, hold: Hold) -> None:
        """Note a new stream, of which nothing is known yet."""
        key, _ = self._keys(hold.stream_id)
        async with reaching_redis(REDIS_SECONDS):
            await self._redis.hset(key, mapping={"holder": hold.mark, "owner": hold.owner})  # pyright: ignore[reportGeneralTypeIssues]
            await self._redis.pexpire(key, self._kept_ms)

    async def claim(self, hold: Hold) -> Kept:
        """Take a stream over.

        Raises: StreamGone: it is not there, not this owner's, or what answers has changed since;
            ResumeTokenInvalid: it is of other media.
        """
        arguments = (hold.owner, hold.terms, hold.recipe, hold.mark, self._kept_ms)
        standing, *kept = await self._run("claim", hold, *arguments)
        match standing:
            case b"held":
                state, received, entries, told = kept
                return Kept(
                    state=state,
                    received=Position(**json.loads(received)),
                    entries=int(entries),
                    told=told,
                )
            case b"other":
                raise ResumeTokenInvalid("The config is not that of the stream to be resumed")
            case b"changed":
                raise StreamGone("The models or the method have changed since")
            case _:
                raise StreamGone()

    async def write(
        self, hold: Hold, state: bytes, received: Position, first: int, told: Sequence[bytes]
    ) -> None:
        """Keep a state, and results of which the first is the stream's entry `first`.

        Raises: StreamSuperseded.
        """
        arguments = (hold.mark, hold.owner, hold.terms, hold.recipe, self._kept_ms, state)
        counted = (_show(received), TOLD_RESULTS, first)
        if not await self._run("write", hold, *arguments, *counted, *told):
            raise StreamSuperseded()

    async def keep(self, hold: Hold, received: Position) -> bool:
        """Keep it for longer; returns whether anything is kept.

        Raises: StreamSuperseded.
        """
        standing = await self._run("keep", hold, hold.mark, self._kept_ms, _show(received))
        if standing == 0:
            raise StreamSuperseded()
        return standing > 0

    async def _run(self, name: str, hold: Hold, *arguments: str | float | bytes) -> Any:
        async with reaching_redis(REDIS_SECONDS):
            keys = self._keys(hold.stream_id)
            return await self._scripts[name](keys=keys, args=list(arguments))

    @property
    def _kept_ms(self) -> int:
        return max(1, round(1000 * self.kept_seconds))

    def _keys(self, stream_id: str) -> list[str]:
        key = f"{self._prefix}:stream:{stream_id}"
        return [key, f"{key}:told"]


def _source_of(name: str) -> str:
    return (files("service.live") / "lua" / f"{name}.lua").read_text("utf-8")


def _show(position: Position) -> str:
    counts = {name: getattr(position, name) for name in Position.__slots__}
    return json.dumps(counts)
