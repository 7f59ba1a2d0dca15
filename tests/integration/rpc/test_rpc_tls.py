"""TLS and certificates of clients."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import grpc
import pytest
import trustme
from circumplex.v1 import jobs_pb2 as wire
from pydantic import ValidationError

from service.errors import DoorNotOpened
from service.office.gateway import Gateway
from service.rpc.door import open_door
from service.settings import Settings
from tests.integration.rpc.talking import talking

LIST = wire.ListJobsRequest()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Files:
    """A CA, the files of a certificate that it has issued, and the file of the CA itself."""

    ca: trustme.CA
    cert: Path
    key: Path
    ca_file: Path

    @property
    def roots(self) -> bytes:
        return self.ca_file.read_bytes()

    def settings(self, *, asks_clients: bool = False) -> dict[str, Path]:
        told = {"tls_cert_file": self.cert, "tls_key_file": self.key}
        return told | ({"tls_client_ca_file": self.ca_file} if asks_clients else {})


def write(folder: Path, ca: trustme.CA) -> Files:
    """A new certificate for this machine, in the same files as the one before."""
    issued = ca.issue_cert("127.0.0.1", "localhost")
    files = Files(ca=ca, cert=folder / "cert", key=folder / "key", ca_file=folder / "ca")
    files.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    files.key.write_bytes(issued.private_key_pem.bytes())
    ca.cert_pem.write_to_path(files.ca_file)
    return files


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return write(tmp_path, trustme.CA())


def with_tls(gateway: Gateway, **told: Path) -> Gateway:
    return dataclasses.replace(gateway, settings=gateway.settings.model_copy(update=told))


async def is_served(port: int, credentials: grpc.ChannelCredentials | None) -> bool:
    async with talking(f"localhost:{port}", credentials) as client:
        call = client.jobs.ListJobs(LIST, timeout=10.0)
        code = await call.code()
    assert code in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)
    return code is grpc.StatusCode.OK


async def test_clients_trust_the_certificate_and_nobody_speaks_in_the_clear(
    gateway: Gateway, files: Files
) -> None:
    async with open_door(with_tls(gateway, **files.settings()), 0) as port:
        trusting = grpc.ssl_channel_credentials(files.roots)
        other = grpc.ssl_channel_credentials(trustme.CA().cert_pem.bytes())
        assert await is_served(port, trusting)
        assert not await is_served(port, other)
        assert not await is_served(port, None)


async def test_clients_show_certificates_of_the_ca(gateway: Gateway, files: Files) -> None:
    async with open_door(with_tls(gateway, **files.settings(asks_clients=True)), 0) as port:
        assert not await is_served(port, grpc.ssl_channel_credentials(files.roots))
        for ca, is_known in ((files.ca, True), (trustme.CA(), False)):
            own = ca.issue_cert("client.example")
            shown = grpc.ssl_channel_credentials(
                files.roots,
                own.private_key_pem.bytes(),
                own.cert_chain_pems[0].bytes(),
            )
            assert await is_served(port, shown) is is_known


async def test_a_certificate_that_is_replaced_counts_at_once(
    gateway: Gateway, files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_door(with_tls(gateway, **files.settings()), 0) as port:
        old = grpc.ssl_channel_credentials(files.roots)
        assert await is_served(port, old)
        with caplog.at_level(logging.ERROR):
            files.cert.write_bytes(b"no certificate")
            assert await is_served(port, old)
        new = write(tmp_path, trustme.CA())
        assert await is_served(port, grpc.ssl_channel_credentials(new.roots))
        assert not await is_served(port, old)
    assert "the old ones stay" in caplog.text


@pytest.mark.parametrize("missing", ["tls_cert_file", "tls_key_file", "tls_client_ca_file"])
async def test_files_that_cannot_be_used_keep_the_door_shut(
    gateway: Gateway, files: Files, tmp_path: Path, missing: str
) -> None:
    told = files.settings(asks_clients=True) | {missing: tmp_path / "nowhere"}
    with pytest.raises(DoorNotOpened, match="No such file"):
        async with open_door(with_tls(gateway, **told), 0):
            pass


async def test_a_key_of_another_certificate_keeps_the_door_shut(
    gateway: Gateway, files: Files
) -> None:
    files.key.write_bytes(files.ca.issue_cert("another").private_key_pem.bytes())
    with pytest.raises(DoorNotOpened, match="TLS files"):
        async with open_door(with_tls(gateway, **files.settings()), 0):
            pass


@pytest.mark.parametrize(
    "told",
    [{"tls_cert_file": "a"}, {"tls_key_file": "a"}, {"tls_client_ca_file": "a"}],
)
def test_half_of_the_files_is_a_mistake(told: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="tls_"):
        Settings(**told)  # pyright: ignore[reportArgumentType]


async def test_a_port_that_is_taken_keeps_the_door_shut(gateway: Gateway, target: str) -> None:
    with pytest.raises(DoorNotOpened, match=target):
        async with open_door(gateway, int(target.rpartition(":")[2])):
            pass
