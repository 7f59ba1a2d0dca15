"""Tests of Redis URLs: TLS, a socket file, sentinels, and invalid ones."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import redis
import trustme

from service.embedded.process import run_process
from service.embedded.redis import is_redis_ready
from service.errors import QueueUnavailable
from service.redis_client.client import connect_redis
from tests.integration.job_environment import eventually
from tests.integration.redis_access import list_values, push_value, run_command
from tests.integration.servers import RedisServer, find_redis_binary, free_port, running_redis

REDIS_VERSION = "7.4"
"""Version of the binary that is built with TLS."""
SECRET = "s3cret-pass"


@dataclass(frozen=True, kw_only=True)
class TlsRedis:
    port: int
    right_ca: Path
    wrong_ca: Path

    def url(self, ca: Path, host: str = "localhost") -> str:
        return f"rediss://{host}:{self.port}/0?ssl_ca_certs={ca}"


@pytest.fixture(scope="module")
def tls_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsRedis]:
    folder = tmp_path_factory.mktemp("tls")
    right, wrong = trustme.CA(), trustme.CA()
    right.cert_pem.write_to_path(folder / "right.pem")
    wrong.cert_pem.write_to_path(folder / "wrong.pem")
    server = right.issue_cert("localhost")
    server.private_key_pem.write_to_path(folder / "key.pem")
    server.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    port = free_port()
    options = (
        *("--tls-port", str(port), "--tls-auth-clients", "no"),
        *("--tls-cert-file", str(folder / "cert.pem"), "--tls-key-file", str(folder / "key.pem")),
        *("--tls-ca-cert-file", str(folder / "right.pem")),
    )
    with running_redis(folder, REDIS_VERSION, options):
        yield TlsRedis(port=port, right_ca=folder / "right.pem", wrong_ca=folder / "wrong.pem")


async def test_a_redis_with_a_certificate_of_the_named_authority_is_used(
    tls_redis: TlsRedis,
) -> None:
    async with connect_redis(tls_redis.url(tls_redis.right_ca)) as client:
        await push_value(client, "value")
        assert await list_values(client) == ["value"]


async def test_a_certificate_of_another_authority_is_refused(tls_redis: TlsRedis) -> None:
    async with connect_redis(tls_redis.url(tls_redis.wrong_ca)) as client:
        with pytest.raises(QueueUnavailable, match="certificate is not trusted"):
            await push_value(client, "value")


async def test_a_certificate_for_another_host_is_refused_unless_the_check_is_disabled(
    tls_redis: TlsRedis,
) -> None:
    url = tls_redis.url(tls_redis.right_ca, host="127.0.0.1")
    async with connect_redis(url) as client:
        with pytest.raises(QueueUnavailable, match="certificate is not trusted"):
            await push_value(client, "value")
    async with connect_redis(f"{url}&ssl_check_hostname=false") as client:
        assert await run_command(client, "PING")


async def test_a_missing_ca_file_is_reported(tls_redis: TlsRedis) -> None:
    async with connect_redis(tls_redis.url(tls_redis.right_ca.with_name("no.pem"))) as client:
        with pytest.raises(QueueUnavailable, match="No such file"):
            await push_value(client, "value")


async def test_a_redis_behind_a_socket_file_is_used(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with running_redis(tmp_path, options=("--unixsocket", str(path))):
        async with connect_redis(f"unix://{path}?db=1") as client:
            await push_value(client, "value")
            assert await list_values(client) == ["value"]


async def test_a_wrong_password_is_reported_and_not_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running_redis(tmp_path) as server:
        server.set_password("another")
        async with connect_redis(f"redis://:{SECRET}@127.0.0.1:{server.port}/0") as client:
            with pytest.raises(QueueUnavailable, match="user or password") as caught:
                await push_value(client, "value")

    assert SECRET not in "".join(traceback.format_exception(caught.value)) + caplog.text


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}/x@127.0.0.1:1/0",
        f"redis+sentinel://:{SECRET}@127.0.0.1:1/0",
        f"redis+sentinel://:{SECRET}@127.0.0.1:port/0?master_name=m",
        f"redis+sentinel://:{SECRET}@/0?master_name=m",
        f"rediss+sentinel://:{SECRET}@[::1:26379/0?master_name=m",
        f"http://:{SECRET}@127.0.0.1",
        f"redis://:{SECRET}@127.0.0.1?unheard_of=1",
    ],
)
def test_an_invalid_url_is_not_quoted(url: str) -> None:
    with pytest.raises(QueueUnavailable) as caught:
        connect_redis(url)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@dataclass(frozen=True, kw_only=True)
class SentinelCluster:
    """Master, replica and three sentinels."""

    servers: dict[int, RedisServer]
    sentinels: tuple[int, ...]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        return f"redis+sentinel://:{SECRET}@{hosts}/0?master_name=jobs"

    def find_master(self) -> RedisServer | None:
        """Return the master according to the first sentinel, once all have found each other."""
        with redis.Redis(port=self.sentinels[0], decode_responses=True) as sentinel:
            reply = sentinel.execute_command("SENTINEL MASTER", "jobs")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # untyped
            state = cast("dict[str, Any]", reply)
            is_complete = state["num-other-sentinels"] == 2 and state["num-slaves"] == 1
            return self.servers[int(state["port"])] if is_complete else None


@contextmanager
def running_sentinel(folder: Path, port: int, master_port: int) -> Generator[None]:
    folder.mkdir()
    file = folder / "sentinel.conf"
    file.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
        f"sentinel monitor jobs 127.0.0.1 {master_port} 2\n"
        "sentinel down-after-milliseconds jobs 1500\nsentinel failover-timeout jobs 5000\n"
        f"sentinel auth-pass jobs {SECRET}\n"
    )

    command = [find_redis_binary(REDIS_VERSION), str(file), "--sentinel"]
    log_file = folder / "sentinel.log"
    with run_process(
        "Sentinel",
        command,
        is_ready=partial(is_redis_ready, port),
        log_file=log_file,
        start_seconds=30.0,
    ):
        yield


@pytest.fixture
def sentinel_cluster(tmp_path: Path) -> Iterator[SentinelCluster]:
    with ExitStack() as stack:
        servers: list[RedisServer] = []
        for name in ("one", "two"):
            server = stack.enter_context(running_redis(tmp_path / name, REDIS_VERSION))
            server.set_password(SECRET)
            servers.append(server)
        master, replica = servers
        replica.run_command("REPLICAOF", "127.0.0.1", master.port)
        ports = (free_port(), free_port(), free_port())
        for port in ports:
            stack.enter_context(running_sentinel(tmp_path / str(port), port, master.port))
        yield SentinelCluster(servers={each.port: each for each in servers}, sentinels=ports)


async def test_after_failover_commands_go_to_the_new_master(
    sentinel_cluster: SentinelCluster,
) -> None:
    async def find_master() -> RedisServer | None:
        return await asyncio.to_thread(sentinel_cluster.find_master)

    old = await eventually(find_master, 60.0)
    async with connect_redis(sentinel_cluster.url) as client:

        async def push_to_new_master() -> bool | None:
            try:
                await push_value(client, "after")
            except QueueUnavailable:
                return None
            return True

        await push_value(client, "before")
        assert await run_command(client, "WAIT", 1, 5000) == 1
        await asyncio.to_thread(old.kill)
        await eventually(push_to_new_master, 60.0)
        assert await list_values(client) == ["before", "after"]

    (new,) = (each for each in sentinel_cluster.servers.values() if each is not old)
    assert new.run_command("ROLE")[0] == b"master"
