"""Protection from web pages: hosts, origins, and headers of responses."""

from __future__ import annotations

import re

import httpx
import pytest

from service.gateway.context import GatewayContext
from service.gateway.rest.security_headers import SECURITY_HEADERS
from tests.integration.auth.key_requests import UNKNOWN_JOB_URL
from tests.integration.job_environment import JobEnvironment
from tests.integration.test_http_server_limits import open_raw_client, serving_with_settings
from tests.integration.websocket_client import expect_refused_handshake, open_websocket

FOREIGN_PAGES: list[dict[str, str]] = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:1"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "video"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    {"Sec-Fetch-Site": "same-origin, cross-site"},
    {"Sec-Fetch-Site": "unheard-of"},
]
FOLLOWED_LINK = {
    "Sec-Fetch-Site": "cross-site",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
}
FOREIGN_HOSTS = [
    "evil.example",
    "gateway",
    "evil.example:8080",
    "localhost.evil.example",
    "10.0.0.1",
]
OWN_HOSTS = ["localhost", "localhost:8080", "app.localhost", "LocalHost.", "127.0.0.2", "[::1]:80"]


@pytest.mark.parametrize("headers", [*FOREIGN_PAGES, FOLLOWED_LINK])
async def test_pages_of_other_origins_can_neither_submit_nor_change_nor_read(
    address: str, env: JobEnvironment, headers: dict[str, str]
) -> None:
    job_id = await env.submit()
    async with httpx.AsyncClient(base_url=address, headers=headers) as client:
        answers = [
            await client.post("/v1/jobs", files={"clip": b"x"}),
            await client.post(f"/v1/jobs/{job_id}:cancel"),
            await client.post(f"/v1/jobs/{job_id}:retry"),
            await client.delete(f"/v1/jobs/{job_id}"),
            await client.get("/v1/jobs"),
            await client.get(f"/v1/jobs/{job_id}"),
            await client.head(f"/v1/jobs/{job_id}"),
            await client.get(f"/v1/jobs/{job_id}/result"),
            await client.get(f"/v1/jobs/{job_id}/events"),
            await client.options("/v1/jobs"),
            await client.get("/v1/live"),
        ]

    assert {403} == {answer.status_code for answer in answers}
    assert {"origin_refused"} == {each.json()["code"] for each in answers if each.content}
    assert len(env.list_stored_files("clips")) == 1
    assert (await env.queue.find(job_id)).state == "queued"


@pytest.mark.parametrize("headers", FOREIGN_PAGES)
async def test_pages_of_other_origins_read_nothing_beside_the_api(
    address: str, headers: dict[str, str]
) -> None:
    async with httpx.AsyncClient(base_url=address, headers=headers) as client:
        for path in ("/metrics", "/health/ready", "/openapi.json", "/docs", "/nowhere"):
            assert (await client.get(path)).status_code == 403, path


@pytest.mark.parametrize("headers", [*FOREIGN_PAGES, FOLLOWED_LINK])
async def test_pages_of_other_origins_cannot_stream(address: str, headers: dict[str, str]) -> None:
    status, problem = await expect_refused_handshake(address, additional_headers=headers)

    assert (status, problem["code"]) == (403, "origin_refused")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "<own>", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        {"Sec-Fetch-Mode": "cors"},  # of an HTTP client that is no browser
        {},
    ],
)
async def test_its_own_pages_and_clients_that_are_no_browsers_are_served(
    address: str, headers: dict[str, str]
) -> None:
    own = {name: value.replace("<own>", address) for name, value in headers.items()}
    async with httpx.AsyncClient(base_url=address, headers=own) as client:
        assert (await client.post("/v1/jobs", files={"clip": b"x"})).status_code == 202
        assert (await client.get("/v1/jobs")).status_code == 200
    async with open_websocket(address, additional_headers=own):
        pass


async def test_a_link_of_another_page_opens_a_page_but_no_job(address: str) -> None:
    async with httpx.AsyncClient(base_url=address, headers=FOLLOWED_LINK) as client:
        assert (await client.get("/docs")).status_code == 200
        assert (await client.post("/docs")).status_code == 403
        assert (await client.get("/v1/jobs")).status_code == 403


async def test_pages_of_allowed_origins_may_use_the_gateway(gateway: GatewayContext) -> None:
    page = {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    allowed = {"allowed_origins": "https://app.example, https://other.example"}
    async with (
        serving_with_settings(gateway, **allowed) as address,
        httpx.AsyncClient(base_url=address, headers=page) as client,
    ):
        preflight = await client.options("/v1/jobs", headers=asked)
        answers = [
            await client.post("/v1/jobs", files={"clip": b"x"}),
            await client.get(UNKNOWN_JOB_URL),
        ]
        foreign = await client.get("/v1/jobs", headers={"Origin": "https://evil.example"})
        async with open_websocket(address, additional_headers=page):
            pass

    assert preflight.status_code == 200
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert [answer.status_code for answer in answers] == [202, 404]
    for answer in (preflight, *answers):
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "Location" in answers[0].headers["access-control-expose-headers"]
    assert foreign.status_code == 403
    assert "access-control-allow-origin" not in foreign.headers


async def test_websocket_origins_allow_streams_and_nothing_else(gateway: GatewayContext) -> None:
    page = {"Origin": "https://app.example"}
    async with (
        serving_with_settings(gateway, websocket_origins="https://app.example") as address,
        httpx.AsyncClient(base_url=address, headers=page) as client,
        open_websocket(address, additional_headers=page),
    ):
        assert (await client.get("/v1/jobs")).status_code == 403


@pytest.mark.parametrize(
    ("changes", "allowed", "refused"),
    [
        ({}, OWN_HOSTS, FOREIGN_HOSTS),
        ({"allowed_hosts": "evil.example"}, ["evil.example:1", "localhost"], ["10.0.0.1", "b.c"]),
        ({"allowed_hosts": "*"}, FOREIGN_HOSTS, []),
        ({"host": "0.0.0.0"}, [*OWN_HOSTS, "10.0.0.1:8080", "gateway:8080"], ["evil.example"]),
        ({"host": "0.0.0.0", "allowed_hosts": "a.b"}, ["a.b", "c"], ["evil.example"]),
    ],
)
async def test_an_open_gateway_answers_under_its_own_names_only(
    gateway: GatewayContext, changes: dict[str, str], allowed: list[str], refused: list[str]
) -> None:
    async with (
        serving_with_settings(gateway, **changes) as address,
        httpx.AsyncClient(base_url=address) as client,
    ):
        for host in allowed:
            answer = await client.get("/health/live", headers={"Host": host})
            assert answer.status_code == 200, host
        for host in refused:
            answer = await client.get("/health/live", headers={"Host": host})
            assert (answer.status_code, answer.json()["code"]) == (403, "host_refused"), host
            page = {"Host": host, "Origin": f"http://{host}"}  # a name bound anew to this address
            assert (await client.post("/v1/jobs", headers=page)).status_code == 403, host
            async with open_raw_client(address) as raw:
                raw.writer.write(
                    f"GET /v1/live HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n"
                    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                    "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n".encode()
                )
                assert (await raw.read_response())[0] == 403, host


async def test_every_response_has_security_headers(address: str) -> None:
    async with httpx.AsyncClient(base_url=address, timeout=30) as client:
        job = await client.post("/v1/jobs", files={"clip": b"x"})
        answers = [
            job,
            *[await client.get(path) for path in ("/v1/jobs", "/metrics", "/openapi.json", "/x")],
            await client.put("/v1/jobs"),
            await client.get("/v1/jobs", headers={"Origin": "null"}),
            await client.get("/v1/live"),
            await client.head(f"{job.headers['location']}/events"),
            await client.get("/v1/live", headers={"Connection": "Upgrade", "Upgrade": "websocket"}),
            await client.get("/x", headers={"X-Long": "x" * 2**17}),
        ]
    for answer in answers:
        for name, value in SECURITY_HEADERS.items():
            assert answer.headers[name] == value, (answer.request, name)


async def test_the_docs_page_loads_nothing_and_lists_every_operation(address: str) -> None:
    async with httpx.AsyncClient(base_url=address) as client:
        page = await client.get("/docs")
        document = (await client.get("/openapi.json")).json()

    assert page.status_code == 200
    assert "script" not in page.text
    assert re.findall(r"(?:src|href)=.(\S+?)[\"\'>]", page.text) == ["/openapi.json"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"{method.upper()} {path}" in page.text
