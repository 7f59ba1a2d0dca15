"""Transport of the gRPC server: channel arguments, pings and TLS."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from service.errors import GrpcServerNotStarted
from service.settings import Settings

MAX_STREAMS_PER_CONNECTION: Final = 100
"""Concurrent calls of one connection; client libraries queue further ones."""
MAX_IDLE_SECONDS: Final = 600
"""Time without calls after which a connection is closed with GOAWAY."""
HANDSHAKE_TIMEOUT_SECONDS: Final = 10
UNREAD_BYTES_PER_CALL: Final = 2**18
"""Window of HTTP/2: bytes that a call may send of a message that nobody reads yet.

It bounds the memory of calls that wait; on a line of 100 ms it lets 2.5 MB/s pass.
"""

ChannelOptions = list[tuple[str, int]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PingLimits:
    """Limits of HTTP/2 pings.

    timeout_seconds: for the acknowledgement of the server's pings. min_interval_seconds: between
    pings of a client; below the 30 s at which clients commonly ping, to allow for early ones.
    """

    timeout_seconds: float = 20.0
    min_interval_seconds: float = 20.0


def channel_options(settings: Settings, ping_limits: PingLimits) -> ChannelOptions:
    """Build the channel arguments of gRPC's core.

    The server's pings keep idle streams open for hours; connections with calls have no maximum
    age. Source: grpc/grpc, doc/keepalive.md.
    """
    ping_timeout_ms = int(1000 * ping_limits.timeout_seconds)
    min_ping_interval_ms = int(1000 * ping_limits.min_interval_seconds)
    return [
        ("grpc.max_receive_message_length", settings.max_stream_message_bytes),
        ("grpc.max_send_message_length", settings.max_stream_message_bytes),
        ("grpc.keepalive_time_ms", int(1000 * settings.grpc_keepalive_seconds)),
        ("grpc.keepalive_timeout_ms", ping_timeout_ms),
        ("grpc.http2.ping_timeout_ms", ping_timeout_ms),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", min_ping_interval_ms),
        ("grpc.http2.bdp_probe", 0),  # it would widen the windows up to 16 MiB
        ("grpc.http2.lookahead_bytes", UNREAD_BYTES_PER_CALL),
        ("grpc.max_concurrent_streams", MAX_STREAMS_PER_CONNECTION),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.max_connection_idle_ms", 1000 * MAX_IDLE_SECONDS),
        ("grpc.server_handshake_timeout_ms", 1000 * HANDSHAKE_TIMEOUT_SECONDS),
        ("grpc.so_reuseport", 0),
    ]


def load_server_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Load the TLS files of the settings; None: no TLS.

    Files that are replaced are used from the next connection on. Raises: GrpcServerNotStarted.
    """
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    certificates = CertificateFiles(
        cert_file=settings.tls_cert_file,
        key_file=settings.tls_key_file,
        client_ca_file=settings.tls_client_ca_file,
    )
    try:
        initial = certificates.read()
    except (OSError, ssl.SSLError) as error:
        raise GrpcServerNotStarted(f"the TLS files cannot be used: {error}") from error
    fetch: Any = certificates.reload_if_changed  # may return None, which the library's types omit
    return grpc.dynamic_ssl_server_credentials(
        initial,
        fetch,
        require_client_authentication=settings.tls_client_ca_file is not None,
    )


class CertificateFiles:
    """Certificate, private key and client CA, read again when the files change."""

    def __init__(self, *, cert_file: Path, key_file: Path, client_ca_file: Path | None) -> None:
        self._cert_file = cert_file
        self._key_file = key_file
        self._client_ca_file = client_ca_file
        self._last_stats: object = None

    def read(self) -> grpc.ServerCertificateConfiguration:
        """Read the files. Raises: OSError; ssl.SSLError: they do not belong together."""
        self._last_stats = self._stat_files()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._cert_file, self._key_file)
        roots = None
        if self._client_ca_file is not None:
            context.load_verify_locations(self._client_ca_file)
            roots = self._client_ca_file.read_bytes()
        pair = (self._key_file.read_bytes(), self._cert_file.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=roots)

    def reload_if_changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Read replaced files; None: unchanged or unusable. gRPC calls it at each connection."""
        try:
            return None if self._stat_files() == self._last_stats else self.read()
        except (OSError, ssl.SSLError) as error:
            log.error("new TLS files cannot be used, the old ones stay: %s", error)
            return None

    def _stat_files(self) -> object:
        files = (self._cert_file, self._key_file, self._client_ca_file)
        stats = [file.stat() for file in files if file is not None]
        return [(stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats]
