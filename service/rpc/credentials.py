"""TLS: the server's certificate, and whose certificates clients have to show."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Any

import grpc

from service.errors import DoorNotOpened
from service.settings import Settings

log = logging.getLogger(__name__)


def server_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """What the settings ask for; None: no TLS. Raises: DoorNotOpened.

    Files that are replaced count from the next connection on.
    """
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    certificates = Certificates(
        cert_file=settings.tls_cert_file,
        key_file=settings.tls_key_file,
        client_ca_file=settings.tls_client_ca_file,
    )
    try:
        first = certificates.read()
    except (OSError, ssl.SSLError) as error:
        raise DoorNotOpened(f"the TLS files cannot be used: {error}") from error
    renewed: Any = certificates.renewed  # None: as they were; the library's types forget that
    return grpc.dynamic_ssl_server_credentials(
        first,
        renewed,
        require_client_authentication=settings.tls_client_ca_file is not None,
    )


class Certificates:
    """The files as they were last read."""

    def __init__(self, *, cert_file: Path, key_file: Path, client_ca_file: Path | None) -> None:
        self._cert_file = cert_file
        self._key_file = key_file
        self._client_ca_file = client_ca_file
        self._marks: object = None

    def read(self) -> grpc.ServerCertificateConfiguration:
        """What is in the files. Raises: OSError; ssl.SSLError: they do not belong together."""
        self._marks = self._marks_now()
        checked = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        checked.load_cert_chain(self._cert_file, self._key_file)
        roots = None
        if self._client_ca_file is not None:
            checked.load_verify_locations(self._client_ca_file)
            roots = self._client_ca_file.read_bytes()
        pair = (self._key_file.read_bytes(), self._cert_file.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=roots)

    def renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """For each new connection: what is in the files, if they were replaced by good ones."""
        try:
            return None if self._marks_now() == self._marks else self.read()
        except (OSError, ssl.SSLError) as error:
            log.error("new TLS files cannot be used, the old ones stay: %s", error)
            return None

    def _marks_now(self) -> object:
        files = (self._cert_file, self._key_file, self._client_ca_file)
        stats = [file.stat() for file in files if file is not None]
        return [(stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats]
