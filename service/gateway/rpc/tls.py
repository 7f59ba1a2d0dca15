"""TLS: the server's certificate, and whose certificates clients have to show."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Any

import grpc

from service.errors import GrpcServerNotStarted
from service.settings import Settings

log = logging.getLogger(__name__)


def load_server_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """What the settings ask for; None: no TLS. Raises: DoorNotOpened.

    Files that are replaced count from the next connection on.
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
    reload: Any = (
        certificates.reload_if_changed
    )  # None: as they were; the library's types forget that
    return grpc.dynamic_ssl_server_credentials(
        initial,
        reload,
        require_client_authentication=settings.tls_client_ca_file is not None,
    )


class CertificateFiles:
    """The files as they were last read."""

    def __init__(self, *, cert_file: Path, key_file: Path, client_ca_file: Path | None) -> None:
        self._cert_file = cert_file
        self._key_file = key_file
        self._client_ca_file = client_ca_file
        self._last_stats: object = None

    def read(self) -> grpc.ServerCertificateConfiguration:
        """What is in the files. Raises: OSError; ssl.SSLError: they do not belong together."""
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
        """For each new connection: what is in the files, if they were replaced by good ones."""
        try:
            return None if self._stat_files() == self._last_stats else self.read()
        except (OSError, ssl.SSLError) as error:
            log.error("new TLS files cannot be used, the old ones stay: %s", error)
            return None

    def _stat_files(self) -> object:
        files = (self._cert_file, self._key_file, self._client_ca_file)
        stats = [file.stat() for file in files if file is not None]
        return [(stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats]
