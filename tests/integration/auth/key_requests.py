"""API keys for tests, and requests with them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from service.auth.api_key import Token
from service.auth.key_store import ApiKeyStore
from service.domain.caller import CallerQuotas, Scope

UNKNOWN_JOB_URL: Final = "/v1/jobs/3fb9e068-c466-495e-afb3-d2109cbc94f5"
DEFAULT_SCOPES: Final = (Scope.SUBMIT, Scope.READ)
Headers = Sequence[tuple[str, str | bytes]]


@dataclass(frozen=True, kw_only=True)
class RawResponse:
    status: int
    headers: dict[str, str]
    body: bytes


async def create_token(keys: ApiKeyStore, *scopes: Scope, **options: Any) -> Token:
    limits = options.pop("limits", CallerQuotas())
    _, token = await keys.create(
        "test key", scopes=frozenset(scopes or DEFAULT_SCOPES), limits=limits, **options
    )
    return token


def bearer_headers(token: Token) -> dict[str, str]:
    return {"Authorization": f"Bearer {token.text}"}


async def submit_job(client: httpx.AsyncClient, token: Token) -> str:
    """Submit a clip with this key and return the id of its job."""
    clip = {"clip": b"clip"}
    response = await client.post("/v1/jobs", files=clip, headers=bearer_headers(token))
    assert response.status_code == 202, response.text
    return response.json()["id"]


async def send_head_only(
    address: str, method: str, path: str, headers: Headers = (), *, length: int = 1_000_000
) -> RawResponse:
    """The response to a request whose body is never sent."""
    url = urlsplit(address)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    all_headers: Headers = [
        ("Host", url.netloc),
        ("Content-Type", "video/mp4"),
        ("Content-Length", str(length)),
        *headers,
    ]
    writer.write(f"{method} {path} HTTP/1.1\r\n".encode())
    for name, value in all_headers:
        writer.write(name.encode() + b": ")
        writer.write(value if isinstance(value, bytes) else value.encode())
        writer.write(b"\r\n")
    writer.write(b"\r\n")
    try:
        async with asyncio.timeout(30.0):
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            received = dict(line.lower().split(": ", 1) for line in lines if line)
            body = await reader.readexactly(int(received["content-length"]))
    finally:
        writer.close()
    return RawResponse(status=int(first.split()[1]), headers=received, body=body)
