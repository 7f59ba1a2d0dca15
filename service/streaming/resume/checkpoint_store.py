"""Store of checkpoints of streams in Redis, for a time after a disconnection.

    <queue_name>:stream:<id>            hash: owner, model, client_config, server_config, holder,
                                        state
    <queue_name>:stream:<id>:responses  list: the last final responses, oldest first

The latest claim holds the stream: `holder` is its session's id, and writes of earlier holders are
refused.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast

from service.errors import ResumeTokenInvalid, StreamExpired, StreamSuperseded
from service.redis_client.client import Redis, ScriptLibrary, connect_redis, redis_errors_translated
from service.settings import Settings
from service.streaming.events import MediaPosition

MAX_STORED_RESPONSES: Final = 1024
"""Events of a stream that are stored for a client that resumes."""
REDIS_TIMEOUT_SECONDS: Final = 2.0
"""Timeout of a command."""
COUNT_SECONDS: Final = 30.0
"""Timeout of counting all streams."""
SCRIPTS: Final = ("claim", "renew", "write")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamClaim:
    """A session's claim on a stream; the latest claim holds it.

    model: NAME@VERSION of its estimator. client_config_key: options that must be the same on
    resuming; server_config_hash: of all that must be the same at the gateway that resumes it.
    holder_id: unique to the session.
    """

    stream_id: str
    owner: str
    model: str
    client_config_key: str
    server_config_hash: str
    holder_id: str = field(default_factory=lambda: secrets.token_hex(8))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredStream:
    """A stored stream. recent_responses: the last of `response_count` events, encoded."""

    state: bytes
    received: MediaPosition
    response_count: int
    recent_responses: Sequence[bytes]


class CheckpointStore:
    """Stores checkpoints of streams in Redis; its calls raise QueueUnavailable."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        """Use a client of Redis.

        Args: redis: a client that does not decode responses.
        """
        self._redis = redis
        self._prefix = settings.queue_name
        self.retention_seconds = settings.stream_resume_seconds
        self._scripts = ScriptLibrary(redis, "service.streaming.resume", SCRIPTS)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncGenerator[CheckpointStore]:
        """Open a store with its own connections, whether or not Redis is available.

        Raises: QueueUnavailable: the URL is invalid.
        """
        async with connect_redis(settings.redis_url, decode_responses=False) as redis:
            yield cls(redis, settings)

    async def register(self, claim: StreamClaim) -> None:
        """Register a new stream, without a checkpoint."""
        key, _ = self._keys(claim.stream_id)
        async with redis_errors_translated(REDIS_TIMEOUT_SECONDS):
            await self._redis.hset(  # pyright: ignore[reportGeneralTypeIssues]  # redis-py types both its clients as one
                key,
                mapping={"holder": claim.holder_id, "owner": claim.owner, "model": claim.model},
            )
            await self._redis.pexpire(key, self._retention_ms)

    async def read_model(self, stream_id: str) -> str:
        """Return the estimator of a stored stream, NAME@VERSION. Raises: StreamExpired."""
        key, _ = self._keys(stream_id)
        async with redis_errors_translated(REDIS_TIMEOUT_SECONDS):
            model = await self._redis.hget(key, "model")  # pyright: ignore[reportGeneralTypeIssues]  # as above
        if model is None:
            raise StreamExpired()
        return model.decode() if isinstance(model, bytes) else str(model)

    async def count_by_model(self) -> Counter[str]:
        """Count the streams under way and those that can be resumed, by NAME@VERSION."""
        counts: Counter[str] = Counter()
        async with redis_errors_translated(COUNT_SECONDS):
            scan = self._redis.scan_iter(f"{self._prefix}:stream:*", _type="hash")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # untyped
            keys = cast("AsyncIterator[str]", scan)
            async for key in keys:
                model = await self._redis.hget(key, "model")  # pyright: ignore[reportGeneralTypeIssues]  # as above
                if isinstance(model, bytes):
                    counts[model.decode()] += 1
        return counts

    async def claim(self, stream_claim: StreamClaim) -> StoredStream:
        """Claim a stored stream.

        Raises: StreamExpired: there is none of this owner, or the gateway's configuration differs;
            ResumeTokenInvalid: the client's configuration differs.
        """
        arguments = (
            stream_claim.owner,
            stream_claim.client_config_key,
            stream_claim.server_config_hash,
            stream_claim.holder_id,
            self._retention_ms,
        )
        match await self._run_script("claim", stream_claim, *arguments):
            case [b"claimed", state, received, response_count, recent_responses]:
                return StoredStream(
                    state=state,
                    received=MediaPosition(**json.loads(received)),
                    response_count=int(response_count),
                    recent_responses=recent_responses,
                )
            case [b"client_changed"]:
                raise ResumeTokenInvalid("The config is not that of the stream to be resumed")
            case [b"server_changed"]:
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
        """Store a checkpoint and the events since the one before.

        Args: state: the encoded checkpoint. received: media so far. first_index: number of the
            first of these events in the stream.

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
        counts = (_position_to_json(received), MAX_STORED_RESPONSES, first_index)
        if not await self._run_script("write", claim, *arguments, *counts, *responses):
            raise StreamSuperseded()

    async def renew(self, claim: StreamClaim, received: MediaPosition) -> bool:
        """Extend the retention; returns whether there is a stored stream.

        Raises: StreamSuperseded.
        """
        stored = await self._run_script(
            "renew", claim, claim.holder_id, self._retention_ms, _position_to_json(received)
        )
        if stored == 0:
            raise StreamSuperseded()
        return stored > 0

    async def _run_script(
        self, name: str, claim: StreamClaim, *arguments: str | float | bytes
    ) -> Any:
        return await self._scripts.run(
            name,
            self._keys(claim.stream_id),
            arguments,
            timeout_seconds=REDIS_TIMEOUT_SECONDS,
        )

    @property
    def _retention_ms(self) -> int:
        return max(1, round(1000 * self.retention_seconds))

    def _keys(self, stream_id: str) -> list[str]:
        key = f"{self._prefix}:stream:{stream_id}"
        return [key, f"{key}:responses"]


def _position_to_json(position: MediaPosition) -> str:
    counts = {name: getattr(position, name) for name in MediaPosition.__slots__}
    return json.dumps(counts)
