"""TLS of the gRPC server, client certificates and certificate reload."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from circumplex.v1 import jobs_pb2 as wire
from pydantic import ValidationError

from service.errors import GrpcServerNotStarted
from service.gateway.context import GatewayContext
from service.settings import Settings
from tests.integration.rpc.grpc_client import open_grpc_client
from tests.integration.servers import serving_grpc

LIST_REQUEST = wire.ListJobsRequest()


@dataclasses.dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """A CA, and the files of its certificate and of one that it issued."""

    ca: trustme.CA
    cert: Path
    key: Path
    ca_file: Path

    @property
    def roots(self) -> bytes:
        return self.ca_file.read_bytes()

    def settings(self, *, verify_clients: bool = False) -> dict[str, Path]:
        files = {"tls_cert_file": self.cert, "tls_key_file": self.key}
        return files | ({"tls_client_ca_file": self.ca_file} if verify_clients else {})


def write_certificate(folder: Path, ca: trustme.CA) -> TlsFiles:
    """Issue a certificate for this machine into the same files as the one before."""
    issued = ca.issue_cert("127.0.0.1", "localhost")
    files = TlsFiles(ca=ca, cert=folder / "cert", key=folder / "key", ca_file=folder / "ca")
    files.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    files.key.write_bytes(issued.private_key_pem.bytes())
    ca.cert_pem.write_to_path(files.ca_file)
    return files


@pytest.fixture
def tls_files(tmp_path: Path) -> TlsFiles:
    return write_certificate(tmp_path, trustme.CA())


def with_tls(gateway: GatewayContext, **files: Path) -> GatewayContext:
    return dataclasses.replace(gateway, settings=gateway.settings.model_copy(update=files))


async def is_served(port: int, credentials: grpc.ChannelCredentials | None) -> bool:
    async with open_grpc_client(f"localhost:{port}", credentials) as client:
        call = client.jobs.ListJobs(LIST_REQUEST, timeout=10.0)
        code = await call.code()
    assert code in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)
    return code is grpc.StatusCode.OK


async def test_clients_verify_the_certificate_and_plaintext_is_refused(
    gateway: GatewayContext, tls_files: TlsFiles
) -> None:
    async with serving_grpc(with_tls(gateway, **tls_files.settings()), 0) as port:
        credentials = grpc.ssl_channel_credentials(tls_files.roots)
        other = grpc.ssl_channel_credentials(trustme.CA().cert_pem.bytes())
        assert await is_served(port, credentials)
        assert not await is_served(port, other)
        assert not await is_served(port, None)


async def test_client_certificates_are_verified_against_the_ca(
    gateway: GatewayContext, tls_files: TlsFiles
) -> None:
    async with serving_grpc(
        with_tls(gateway, **tls_files.settings(verify_clients=True)), 0
    ) as port:
        assert not await is_served(port, grpc.ssl_channel_credentials(tls_files.roots))
        for ca, is_known in ((tls_files.ca, True), (trustme.CA(), False)):
            own = ca.issue_cert("client.example")
            client_credentials = grpc.ssl_channel_credentials(
                tls_files.roots,
                own.private_key_pem.bytes(),
                own.cert_chain_pems[0].bytes(),
            )
            assert await is_served(port, client_credentials) is is_known


async def test_a_replaced_certificate_is_used_at_once(
    gateway: GatewayContext, tls_files: TlsFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving_grpc(with_tls(gateway, **tls_files.settings()), 0) as port:
        old = grpc.ssl_channel_credentials(tls_files.roots)
        assert await is_served(port, old)
        with caplog.at_level(logging.ERROR):
            tls_files.cert.write_bytes(b"no certificate")
            assert await is_served(port, old)
        new = write_certificate(tmp_path, trustme.CA())
        assert await is_served(port, grpc.ssl_channel_credentials(new.roots))
        assert not await is_served(port, old)
    assert "the old ones stay" in caplog.text


@pytest.mark.parametrize("missing", ["tls_cert_file", "tls_key_file", "tls_client_ca_file"])
async def test_unusable_tls_files_prevent_startup(
    gateway: GatewayContext, tls_files: TlsFiles, tmp_path: Path, missing: str
) -> None:
    files = tls_files.settings(verify_clients=True) | {missing: tmp_path / "missing"}
    with pytest.raises(GrpcServerNotStarted, match="No such file"):
        async with serving_grpc(with_tls(gateway, **files), 0):
            pass


async def test_a_mismatched_private_key_prevents_startup(
    gateway: GatewayContext, tls_files: TlsFiles
) -> None:
    tls_files.key.write_bytes(tls_files.ca.issue_cert("another").private_key_pem.bytes())
    with pytest.raises(GrpcServerNotStarted, match="TLS files"):
        async with serving_grpc(with_tls(gateway, **tls_files.settings()), 0):
            pass


@pytest.mark.parametrize(
    "files",
    [{"tls_cert_file": "a"}, {"tls_key_file": "a"}, {"tls_client_ca_file": "a"}],
)
def test_a_certificate_without_its_key_is_a_settings_error(files: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="tls_"):
        Settings(**files)


async def test_a_port_in_use_prevents_startup(gateway: GatewayContext, target: str) -> None:
    with pytest.raises(GrpcServerNotStarted, match=target):
        async with serving_grpc(gateway, int(target.rpartition(":")[2])):
            pass
