"""Idempotency keys over REST: one job per key."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator

import httpx
import pytest

from service.auth.authenticator import Authenticator
from service.auth.key_store import ApiKeyStore
from service.domain.caller import Scope
from service.gateway.context import GatewayContext
from service.gateway.lifecycle import ShutdownState
from service.gateway.rest.app import create_app
from service.redis_client.client import connect_redis
from tests.integration.auth.key_requests import bearer_headers, create_token
from tests.integration.fakes import make_fake_analysis
from tests.integration.job_client import CLIP, open_client, post_clip
from tests.integration.job_environment import JobEnvironment, eventually
from tests.integration.redis_access import list_keys
from tests.integration.servers import serving

IDEMPOTENCY_KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"
HEADERS = {"Idempotency-Key": IDEMPOTENCY_KEY}


@pytest.fixture
async def client(address: str) -> AsyncGenerator[httpx.AsyncClient]:
    async with open_client(address) as client:
        yield client


async def test_repeated_submission_returns_the_same_job(
    client: httpx.AsyncClient, env: JobEnvironment
) -> None:
    first = await post_clip(client, headers=HEADERS)
    second = await post_clip(client, headers=HEADERS)
    form = await client.post("/v1/jobs", files={"clip": ("a.mp4", CLIP)}, headers=HEADERS)
    async with env.running_worker(make_fake_analysis(3)):
        await env.wait_for_end(first.json()["id"])
    ended = await post_clip(client, headers=HEADERS)

    assert [each.status_code for each in (first, second, form, ended)] == [202, 202, 202, 200]
    assert {first.headers["location"]} == {
        each.headers["location"] for each in (second, form, ended)
    }
    assert "idempotency-replayed" not in first.headers
    assert {"true"} == {each.headers["idempotency-replayed"] for each in (second, form, ended)}
    assert first.json() == second.json()
    assert ended.json()["state"] == "succeeded"
    assert len(env.list_stored_files("clips")) == 1


@pytest.mark.parametrize(
    ("clip", "query"),
    [(CLIP + b"!", ""), (CLIP[:-1], ""), (CLIP, "?faces=all"), (CLIP, "?priority=interactive")],
)
async def test_key_is_refused_for_another_request(
    client: httpx.AsyncClient, env: JobEnvironment, clip: bytes, query: str
) -> None:
    first = await post_clip(client, headers=HEADERS)
    other = await post_clip(client, clip, query, headers=HEADERS)
    same = await post_clip(client, headers=HEADERS)

    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert first.json()["id"] == same.json()["id"]
    assert len(env.list_stored_files("clips")) == 1


async def test_twenty_submissions_at_once_are_one_job(
    client: httpx.AsyncClient, env: JobEnvironment
) -> None:
    async def submit() -> str:
        while True:
            answer = await post_clip(client, bytes(500_000), headers=HEADERS)
            if answer.status_code != 409:
                assert answer.status_code == 202
                return answer.json()["id"]
            assert answer.json()["code"] == "idempotency_key_in_use"
            assert 1 <= int(answer.headers["retry-after"]) <= 5
            await asyncio.sleep(0.05)

    ids = await asyncio.gather(*(submit() for _ in range(20)))

    assert len(set(ids)) == 1
    assert (await env.queue.measure_backlog()).depth == 1
    assert len(env.list_stored_files("clips")) == 1


async def test_key_in_use_is_refused_before_the_second_upload(
    client: httpx.AsyncClient, env: JobEnvironment
) -> None:
    release = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield CLIP
        await release.wait()

    headers = {"Content-Type": "video/mp4", "Idempotency-Key": IDEMPOTENCY_KEY}
    first = asyncio.create_task(client.post("/v1/jobs", content=slow(), headers=headers))

    async def refused() -> httpx.Response | None:
        answer = await post_clip(client, b"another clip", headers=HEADERS)
        return answer if answer.status_code == 409 else None

    try:
        await eventually(lambda: _is_key_reserved(env))
        refusal = await refused()
        assert refusal is not None
        assert refusal.json()["code"] == "idempotency_key_in_use"
        assert refusal.json()["retryable"] is True
    finally:
        release.set()
    assert (await first).status_code == 202


async def _is_key_reserved(env: JobEnvironment) -> bool | None:
    prefix = f"{env.settings.queue_name}:idempotency:"
    async with connect_redis(env.settings.redis_url) as redis:
        return bool(await list_keys(redis, prefix)) or None


async def test_failed_upload_releases_the_key(
    client: httpx.AsyncClient, address: str, env: JobEnvironment
) -> None:
    host, port = address.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST /v1/jobs HTTP/1.1\r\nHost: {host}\r\nContent-Type: video/mp4\r\n"
        f"Idempotency-Key: {IDEMPOTENCY_KEY}\r\nContent-Length: 900000\r\n\r\n".encode()
        + bytes(300_000)
    )
    await eventually(lambda: _is_key_reserved(env))
    writer.close()

    async def accepted() -> httpx.Response | None:
        answer = await post_clip(client, headers=HEADERS)
        return None if answer.status_code == 409 else answer

    retried = await eventually(accepted)
    refused = await post_clip(client, b"", headers={"Idempotency-Key": "another"})
    repeated = await post_clip(client, headers={"Idempotency-Key": "another"})

    assert retried.status_code == repeated.status_code == 202
    assert "idempotency-replayed" not in retried.headers
    assert (refused.status_code, refused.json()["code"]) == (422, "clip_empty")
    assert len(env.list_stored_files("clips")) == 2


async def test_key_of_a_deleted_job_is_released(client: httpx.AsyncClient) -> None:
    first = await post_clip(client, headers=HEADERS)
    await client.delete(first.headers["location"])
    other = await post_clip(client, b"another clip", headers=HEADERS)

    assert other.status_code == 202
    assert "idempotency-replayed" not in other.headers
    assert first.json()["id"] != other.json()["id"]


async def test_gateways_share_keys(gateway: GatewayContext) -> None:
    answers: list[httpx.Response] = []
    for _ in range(2):
        app = create_app(dataclasses.replace(gateway, shutdown=ShutdownState()))
        async with serving(app) as address, open_client(address) as client:
            answers.append(await post_clip(client, headers=HEADERS))

    first, second = answers
    assert first.json() == second.json()
    assert second.headers["idempotency-replayed"] == "true"


async def test_keys_are_separate_for_each_owner(
    gateway: GatewayContext, env: JobEnvironment
) -> None:
    settings = env.settings.model_copy(update={"access": "keys"})
    async with Authenticator.open(settings) as authenticator, ApiKeyStore.open(settings) as keys:
        tokens = [await create_token(keys, Scope.SUBMIT) for _ in range(2)]
        closed = dataclasses.replace(gateway, authenticator=authenticator)
        async with serving(create_app(closed)) as address, open_client(address) as client:
            answers = [
                await post_clip(client, headers=HEADERS | bearer_headers(token))
                for token in (*tokens, *tokens)
            ]

    first, second, *again = (answer.json()["id"] for answer in answers)
    assert first != second
    assert [first, second] == again


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"caf\xe9", b"tab\there"])
async def test_invalid_key_is_refused(client: httpx.AsyncClient, key: bytes) -> None:
    answer = await client.post(
        "/v1/jobs",
        content=CLIP,
        headers=[(b"Content-Type", b"video/mp4"), (b"Idempotency-Key", key)],
    )

    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


async def test_two_keys_are_refused(client: httpx.AsyncClient) -> None:
    headers = [("Content-Type", "video/mp4"), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]

    answer = await client.post("/v1/jobs", content=CLIP, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
