"""How the gRPC server treats its connections, said explicitly."""

from __future__ import annotations

from typing import Final

from service.settings import Settings

MAX_STREAMS_PER_CONNECTION: Final = 100
"""Calls of one connection at a time; a client library lets more wait their turn."""
PING_TIMEOUT_SECONDS: Final = 20
MIN_PING_INTERVAL_SECONDS: Final = 20
"""Clients that ping every 30 s are welcome, early ones too."""
MAX_IDLE_SECONDS: Final = 600
"""A connection without a call for so long is asked to go."""
HANDSHAKE_TIMEOUT_SECONDS: Final = 10

ChannelOptions = list[tuple[str, int]]


def server_options(settings: Settings) -> ChannelOptions:
    """Channel arguments of gRPC's core.

    A stream in which nothing happens for hours is kept by pings of ours; there is no age at which
    a connection with calls is ended. Source: grpc/grpc, doc/keepalive.md.
    """
    return [
        ("grpc.max_receive_message_length", settings.max_stream_message_bytes),
        ("grpc.max_send_message_length", settings.max_stream_message_bytes),
        ("grpc.keepalive_time_ms", int(1000 * settings.grpc_keepalive_seconds)),
        ("grpc.keepalive_timeout_ms", 1000 * PING_TIMEOUT_SECONDS),
        ("grpc.http2.ping_timeout_ms", 1000 * PING_TIMEOUT_SECONDS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", int(1000 * MIN_PING_INTERVAL_SECONDS)),
        ("grpc.max_concurrent_streams", MAX_STREAMS_PER_CONNECTION),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.max_connection_idle_ms", 1000 * MAX_IDLE_SECONDS),
        ("grpc.server_handshake_timeout_ms", 1000 * HANDSHAKE_TIMEOUT_SECONDS),
        ("grpc.so_reuseport", 0),
    ]
