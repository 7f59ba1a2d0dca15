"""Live client: sends media as they are recorded, yields results as they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Self

import grpc

from circumplex_client.errors import ClientError, RequestRefused
from circumplex_client.live.call_errors import CallInterrupted, RetryPolicy
from circumplex_client.live.media import LiveStreamOptions, MediaChunk
from circumplex_client.live.results import LiveResult, StreamAccepted
from circumplex_client.live.resumable_stream import ResumableStream
from circumplex_client.transport import describe_route, mask_password, read_api_key
from circumplex_client.v1 import annotation_pb2 as pb

METHOD: Final = "/circumplex.v1.AnnotationService/StreamingAnnotate"
MEMORY_BYTES: Final = 32 * 2**20
RETRY_TIMEOUT_SECONDS: Final = 60.0

CHANNEL_OPTIONS: Final = (
    # Detects a dead peer within 50 s and keeps NAT entries of idle streams alive.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Results are small; sent messages are bounded by the limits in the service's ConfigAck.
    ("grpc.max_receive_message_length", 4 * 2**20),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),
)

OnAccepted = Callable[[StreamAccepted], None]
OnInterrupted = Callable[[ClientError, float], None]
"""Called with the error that interrupted a call and the seconds until the next call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Contents of PEM files.

    ca: trusted CA, None: the system's. certificate, key: client certificate, if the gateway
    requires one.
    """

    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None


class LiveClient:
    """Client of a gateway's gRPC port; an async context manager.

    Args:
        target: "host:50051".
        api_key: default: the environment variable CIRCUMPLEX_API_KEY.
        tls: True trusts the system's CAs.
        proxy: HTTP proxy, such as "http://proxy:3128". None: a direct connection, whatever the
            environment says (HTTPS_PROXY and its like).
        retry_timeout_seconds: time for which a stream is resumed without a new result.
        memory_bytes: media that may have to be sent again are held in memory up to this size,
            and beyond it in temporary files.

    """

    def __init__(
        self,
        target: str,
        *,
        api_key: str | None = None,
        tls: Tls | bool = False,
        proxy: str | None = None,
        retry_timeout_seconds: float = RETRY_TIMEOUT_SECONDS,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        key = read_api_key(api_key)
        self._target = target
        self._tls = Tls() if tls is True else tls or None
        self._options = (*CHANNEL_OPTIONS, *_build_proxy_options(proxy))
        self._route = describe_route(target, proxy)
        self._metadata = (("authorization", f"Bearer {key}"),) if key else ()
        self._retry_timeout_seconds = retry_timeout_seconds
        self._memory_bytes = memory_bytes
        self._channel: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Self:
        if self._tls is None:
            self._channel = grpc.aio.insecure_channel(self._target, options=self._options)
        else:
            credentials = grpc.ssl_channel_credentials(
                self._tls.ca, self._tls.key, self._tls.certificate
            )
            self._channel = grpc.aio.secure_channel(
                self._target, credentials, options=self._options
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._channel is not None:
            await self._channel.close()

    async def annotate(
        self,
        media: AsyncIterable[MediaChunk],
        options: LiveStreamOptions | None = None,
        *,
        on_accepted: OnAccepted = lambda _: None,
        on_interrupted: OnInterrupted = lambda _error, _seconds: None,
    ) -> AsyncGenerator[LiveResult]:
        """Stream media; yields results as they arrive, a StreamSummary last.

        Each final result is yielded once and in order. Media are read as fast as the service
        accepts them; the stream ends where the iterator ends. An interrupted call is resumed by
        another one. Close the generator (`aclosing`) when leaving early.

        Raises: ClientError, and whatever the media raise.
        """
        stream = ResumableStream(
            media,
            options or LiveStreamOptions(),
            target=self._route,
            memory_bytes=self._memory_bytes,
        )
        retry_policy = RetryPolicy(self._retry_timeout_seconds)
        try:
            while True:
                try:
                    async with aclosing(stream.run_call(self._open_call)) as results:
                        async for result in results:
                            if isinstance(result, StreamAccepted):
                                retry_policy.record_accepted()
                                on_accepted(result)
                            else:
                                retry_policy.reset()
                                yield result
                    return
                except CallInterrupted as interrupted:
                    seconds = retry_policy.next_pause_seconds(interrupted)
                    on_interrupted(interrupted.error, seconds)
                except RequestRefused as refused:
                    if refused.problem.code != "stream_gone" or not stream.restart_from_beginning():
                        raise
                    seconds = 0.0
                await asyncio.sleep(seconds)
        finally:
            await stream.close()

    def _open_call(self) -> grpc.aio.StreamStreamCall[Any, Any]:
        assert self._channel is not None, "a LiveClient is used in an `async with`"
        method = self._channel.stream_stream(
            METHOD,
            request_serializer=pb.StreamingAnnotateRequest.SerializeToString,
            response_deserializer=pb.StreamingAnnotateResponse.FromString,
        )
        return method(metadata=self._metadata)


def _build_proxy_options(proxy: str | None) -> tuple[tuple[str, str | int], ...]:
    """Channel options; raises ValueError for a proxy that gRPC cannot use."""
    if proxy is None:
        return (("grpc.enable_http_proxy", 0),)
    if not proxy.startswith("http://"):
        raise ValueError(
            f"gRPC goes through proxies of the form http://HOST:PORT, not {mask_password(proxy)}"
        )
    return (("grpc.http_proxy", proxy),)
