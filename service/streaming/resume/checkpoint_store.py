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

from service.errors import ResumeTokenInvalid, StreamExpired, StreamSuperseded
from service.redis_client.client import connect_redis, redis_errors_translated
from service.settings import Settings
from service.streaming.input.media_reader import MediaPosition

MAX_STORED_RESPONSES: Final = 1024
"""So many are kept for clients that have not got them."""
REDIS_TIMEOUT_SECONDS: Final = 2.0
"""A stream does not wait longer for an answer."""
SCRIPTS: Final = ("claim", "write", "keep")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamClaim:
    """One session's hold on a stream.

    terms: what the client chose, and must choose again; recipe: what must be the same at the
    gateway that goes on; mark: this session's own.
    """

    stream_id: str
    owner: str
    client_config_key: str
    server_config_hash: str
    holder_id: str = field(default_factory=lambda: secrets.token_hex(8))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredStream:
    """What was kept. told: the last results, of `entries` in all; received: of the media."""

    state: bytes
    received: MediaPosition
    response_count: int
    recent_responses: Sequence[bytes]


class CheckpointStore:
    """Keeps streams; whatever it does raises QueueUnavailable."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        """Args: redis: one that decodes nothing."""
        self._redis = redis
        self._prefix = settings.queue_name
        self.retention_seconds = settings.stream_resume_seconds
        self._scripts = {name: redis.register_script(_load_script(name)) for name in SCRIPTS}

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncGenerator[CheckpointStore]:
        """An archive with its own connections; succeeds whether Redis is there or not.

        Raises: QueueUnavailable: the URL cannot be read.
        """
        async with connect_redis(settings.redis_url, decode_responses=False) as redis:
            yield cls(redis, settings)

    async def register(self, claim: StreamClaim) -> None:
        """Note a new stream, of which nothing is known yet."""
        key, _ = self._keys(claim.stream_id)
        async with redis_errors_translated(REDIS_TIMEOUT_SECONDS):
            await self._redis.hset(key, mapping={"holder": claim.holder_id, "owner": claim.owner})  # pyright: ignore[reportGeneralTypeIssues]
            await self._redis.pexpire(key, self._retention_ms)

    async def claim(self, stream_claim: StreamClaim) -> StoredStream:
        """Take a stream over.

        Raises: StreamGone: it is not there, not this owner's, or what answers has changed since;
            ResumeTokenInvalid: it is of other media.
        """
        arguments = (
            stream_claim.owner,
            stream_claim.client_config_key,
            stream_claim.server_config_hash,
            stream_claim.holder_id,
            self._retention_ms,
        )
        standing, *kept = await self._run_script("claim", stream_claim, *arguments)
        match standing:
            case b"held":
                state, received, entries, told = kept
                return StoredStream(
                    state=state,
                    received=MediaPosition(**json.loads(received)),
                    response_count=int(entries),
                    recent_responses=told,
                )
            case b"other":
                raise ResumeTokenInvalid("The config is not that of the stream to be resumed")
            case b"changed":
                raise StreamExpired("The models or the method have changed since")
            case _:
                raise StreamExpired()

    async def write_checkpoint(
        self,
        claim: StreamClaim,
        state: bytes,
        received: MediaPosition,
        first_index: int,
        responses: Sequence[bytes],
    ) -> None:
        """Keep a state, and results of which the first is the stream's entry `first`.

        Raises: StreamSuperseded.
        """
        arguments = (
            claim.holder_id,
            claim.owner,
            claim.client_config_key,
            claim.server_config_hash,
            self._retention_ms,
            state,
        )
        counted = (_position_to_json(received), MAX_STORED_RESPONSES, first_index)
        if not await self._run_script("write", claim, *arguments, *counted, *responses):
            raise StreamSuperseded()

    async def renew(self, claim: StreamClaim, received: MediaPosition) -> bool:
        """Keep it for longer; returns whether anything is kept.

        Raises: StreamSuperseded.
        """
        standing = await self._run_script(
            "keep", claim, claim.holder_id, self._retention_ms, _position_to_json(received)
        )
        if standing == 0:
            raise StreamSuperseded()
        return standing > 0

    async def _run_script(
        self, name: str, claim: StreamClaim, *arguments: str | float | bytes
    ) -> Any:
        async with redis_errors_translated(REDIS_TIMEOUT_SECONDS):
            keys = self._keys(claim.stream_id)
            return await self._scripts[name](keys=keys, args=list(arguments))

    @property
    def _retention_ms(self) -> int:
        return max(1, round(1000 * self.retention_seconds))

    def _keys(self, stream_id: str) -> list[str]:
        key = f"{self._prefix}:stream:{stream_id}"
        return [key, f"{key}:told"]


def _load_script(name: str) -> str:
    return (files("service.streaming.resume") / "lua" / f"{name}.lua").read_text("utf-8")


def _position_to_json(position: MediaPosition) -> str:
    counts = {name: getattr(position, name) for name in MediaPosition.__slots__}
    return json.dumps(counts)
