"""Proxies of the environment are not used for the gateway, Triton or a bucket of this machine."""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest
from circumplex_client import Client, ServiceUnreachable
from circumplex_client.__main__ import main
from circumplex_client.errors import ExtraMissing
from circumplex_client.live.client import LiveClient
from circumplex_client.live.media import ContainerInput, LiveStreamOptions, MediaChunk
from circumplex_client.live.results import FrameResult
from prometheus_client import CollectorRegistry

from service.blobstore import open_store
from service.embedded.process import find_free_ports
from service.embedded.triton import TritonPorts
from service.pipeline.estimators import read_default_manifest
from service.settings import YARDSTICK, Settings
from service.telemetry.metrics import Metrics
from service.triton.client import connect_triton
from tests.integration.bucket_server import BucketServer
from tests.integration.fake_media import FRAME_COUNT, make_container
from tests.integration.stub_gateway import StubAnnotationServicer, serving_streams

NO_PROXY = " .example.org ,,[fe80::1]:80,127.0.0.0/33,::1,*x"
VARIABLES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "grpc_proxy")


@pytest.fixture(params=["http", "socks5"])
def environment_proxy(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A proxy that nobody runs, in every variable, with an exemption list that few can parse."""
    proxy = f"http://user:secret@127.0.0.1:{find_free_ports(1)[0]}"
    for name in VARIABLES:
        monkeypatch.setenv(name, proxy)
    monkeypatch.setenv("ALL_PROXY", proxy.replace("http", request.param, 1))
    monkeypatch.setenv("NO_PROXY", NO_PROXY)
    monkeypatch.setenv("no_proxy", "[")
    return proxy


class EmptyListHandler(BaseHTTPRequestHandler):
    """Answers each request with an empty list of jobs."""

    def do_GET(self) -> None:
        body = b'{"jobs": [], "next_page_token": null}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        del format, args


@pytest.fixture
def gateway() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyListHandler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.usefixtures("environment_proxy")
def test_rest_goes_to_the_gateway_directly(
    gateway: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client(gateway) as client:
        assert list(client.jobs()) == []
    assert main(["list", "--url", gateway]) == 0
    assert capsys.readouterr().err == ""


def test_rest_goes_through_a_named_proxy(gateway: str) -> None:
    with Client("http://gateway.invalid", proxy=gateway) as client:
        assert list(client.jobs()) == []


@pytest.mark.usefixtures("environment_proxy")
async def test_streams_go_to_the_gateway_directly() -> None:
    async with (
        serving_streams(StubAnnotationServicer()) as port,
        LiveClient(f"127.0.0.1:{port}", retry_timeout_seconds=5.0) as client,
    ):
        options = LiveStreamOptions(media=ContainerInput(), finals_only=True)
        results = [result async for result in client.annotate(iterate_container(), options)]
    finals = [each for each in results if isinstance(each, FrameResult) and each.is_final]
    assert len(finals) == FRAME_COUNT


async def iterate_container() -> AsyncIterator[MediaChunk]:
    for chunk in make_container():
        yield chunk


@pytest.mark.usefixtures("environment_proxy")
async def test_triton_is_reached_directly(
    triton_server: TritonPorts, mini_repository: Path
) -> None:
    settings = Settings(
        models=YARDSTICK, model_repository=mini_repository, triton_url=triton_server.grpc_url
    )
    async with connect_triton(settings, Metrics(CollectorRegistry())) as triton:
        assert await triton.find_unready(read_default_manifest(settings)) == []


@pytest.mark.usefixtures("bucket_credentials", "environment_proxy")
async def test_a_bucket_on_this_machine_is_reached_directly(bucket_server: BucketServer) -> None:
    store = open_store(Settings(**bucket_server.settings(uuid4().hex)))
    assert [blob async for blob in store.list("")] == []


def test_errors_name_the_proxy_without_its_password() -> None:
    port = find_free_ports(1)[0]
    gateway = "http://user:secret@gateway.invalid"
    proxy = f"http://user:secret@127.0.0.1:{port}"
    with (
        Client(gateway, proxy=proxy, retry_timeout_seconds=0.0) as client,
        pytest.raises(ServiceUnreachable) as caught,
    ):
        client.job("a")
    assert f"gateway.invalid, through the proxy http://127.0.0.1:{port}, cannot" in str(
        caught.value
    )
    assert "secret" not in str(caught.value)


def test_errors_name_the_variables_that_are_not_used(environment_proxy: str) -> None:
    with (
        Client(f"http://127.0.0.1:{find_free_ports(1)[0]}", retry_timeout_seconds=0.0) as client,
        pytest.raises(ServiceUnreachable, match=r"ALL_PROXY, HTTPS_PROXY.* not used") as caught,
    ):
        client.job("a")
    assert environment_proxy not in str(caught.value)


def test_proxies_that_cannot_be_used_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ExtraMissing, match=re.escape("socks5://127.0.0.1:9")):
        Client("http://127.0.0.1", proxy="socks5://127.0.0.1:9")
    with pytest.raises(ValueError, match=r"http://HOST:PORT, not socks5://127\.0\.0\.1:9$"):
        LiveClient("127.0.0.1:9", proxy="socks5://user:secret@127.0.0.1:9")
    for proxy in ("ftp://127.0.0.1:9", "proxy:3128", "http://[", "", "http://a:sec/ret@b"):
        assert main(["list", "--proxy", proxy]) == 2
    printed = capsys.readouterr().err
    assert "no proxy that can be used" in printed
    assert "sec" not in printed
