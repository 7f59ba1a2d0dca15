"""Authentication of REST requests by API key."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from service.auth.api_key import Token, new_token
from service.auth.key_store import ApiKeyStore
from service.domain.caller import CallerQuotas, Scope
from tests.integration.auth.key_requests import (
    UNKNOWN_JOB_URL,
    Headers,
    bearer_headers,
    create_token,
    send_head_only,
    submit_job,
)
from tests.integration.fakes import make_fake_analysis
from tests.integration.job_environment import JobEnvironment, eventually


@pytest.mark.parametrize("header", ["Authorization", "authorization", "X-API-Key"])
async def test_key_authorizes_a_job_and_its_result(
    client: httpx.AsyncClient, key_store: ApiKeyStore, env: JobEnvironment, header: str
) -> None:
    token = await create_token(key_store)
    credential = {header: token.text if header == "X-API-Key" else f"bearer  {token.text}"}

    submit = await client.post("/v1/jobs", files={"clip": b"clip"}, headers=credential)
    assert submit.status_code == 202
    job_id = submit.json()["id"]
    async with env.running_worker(make_fake_analysis(3)):
        record = await env.wait_for_end(job_id)
    job = await client.get(f"/v1/jobs/{job_id}", headers=credential)
    result = await client.get(f"/v1/jobs/{job_id}/result", headers=credential)

    assert (job.status_code, job.json()["state"]) == (200, "succeeded")
    assert (result.status_code, len(result.json()["frames"]["index"])) == (200, 3)
    assert record.owner == token.key_id
    [key] = await key_store.list_keys()
    assert key.last_used_at is not None
    assert abs(key.last_used_at - time.time()) < 60


async def test_another_authorization_scheme_is_ignored(
    client: httpx.AsyncClient, key_store: ApiKeyStore
) -> None:
    token = await create_token(key_store)
    headers = {"Authorization": "Basic cHJveHk6cHJveHk=", "X-API-Key": token.text}
    assert (await client.get(UNKNOWN_JOB_URL, headers=headers)).status_code == 404
    both = {**bearer_headers(token), "X-API-Key": token.text}
    assert (await client.get(UNKNOWN_JOB_URL, headers=both)).status_code == 404


def wrong_headers(token: Token) -> dict[str, Headers]:
    """Invalid credentials, some of them similar to the valid token."""
    other = new_token().text
    swapped = f"cpx_{token.key_id}_{other.rpartition('_')[2]}"
    last = "a" if token.text[-1] != "a" else "b"
    return {
        "none": [],
        "empty": [("Authorization", "")],
        "scheme alone": [("Authorization", "Bearer")],
        "no scheme": [("Authorization", token.text)],
        "another scheme": [("Authorization", f"Basic {token.text}")],
        "unknown key": [("Authorization", f"Bearer {other}")],
        "another's secret": [("Authorization", f"Bearer {swapped}")],
        "one letter off": [("X-API-Key", token.text[:-1] + last)],
        "a letter more": [("X-API-Key", token.text + "a")],
        "its id": [("X-API-Key", token.key_id)],
        "its digest": [("X-API-Key", token.digest)],
        "twice in one": [("Authorization", f"Bearer {token.text} {token.text}")],
        "two keys": [("X-API-Key", token.text), ("X-API-Key", other)],
        "two headers": [("X-API-Key", other), ("Authorization", f"Bearer {token.text}")],
        "unicode": [("Authorization", "Bearer cpx_schlüssel_☃")],
        "full-width letters": [("X-API-Key", token.text.replace("cpx", "\uff43\uff50\uff58"))],
        "garbage": [("X-API-Key", bytes(range(128, 256)))],
        "pattern": [("X-API-Key", "cpx_*_*")],
        "very long": [("Authorization", "Bearer cpx_" + "a" * 40_000)],
    }


@pytest.mark.parametrize("wrong", list(wrong_headers(new_token())))
async def test_invalid_credential_is_refused_before_the_body(
    address: str, key_store: ApiKeyStore, env: JobEnvironment, wrong: str
) -> None:
    token = await create_token(key_store, Scope.ADMIN)
    answer = await send_head_only(address, "POST", "/v1/jobs", wrong_headers(token)[wrong])

    assert (answer.status, json.loads(answer.body)["code"]) == (401, "unauthenticated")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == 'bearer realm="circumplex"'
    assert token.text.encode() not in answer.body
    assert env.list_stored_files("clips") == []


async def test_key_in_the_query_string_is_ignored(
    client: httpx.AsyncClient, key_store: ApiKeyStore
) -> None:
    token = await create_token(key_store)
    for name in ("api_key", "access_token", "X-API-Key"):
        answer = await client.get(UNKNOWN_JOB_URL, params={name: token.text})
        assert answer.status_code == 401


async def test_revoked_key_stops_working_within_two_seconds(
    client: httpx.AsyncClient, key_store: ApiKeyStore
) -> None:
    token, other = await create_token(key_store), await create_token(key_store)
    path = f"/v1/jobs/{await submit_job(client, token)}"
    assert (await client.get(path, headers=bearer_headers(token))).status_code == 200

    await key_store.revoke(token.key_id)

    async def refused() -> httpx.Response | None:
        answer = await client.get(path, headers=bearer_headers(token))
        return answer if answer.status_code == 401 else None

    answer = await eventually(refused, 2.0)
    assert answer.json()["detail"] == f"the API key {token.key_id} has been revoked"
    assert (await client.get(UNKNOWN_JOB_URL, headers=bearer_headers(other))).status_code == 404


async def test_cached_key_is_refused_once_expired(
    client: httpx.AsyncClient, key_store: ApiKeyStore
) -> None:
    expired = await create_token(key_store, lifetime_seconds=0.0)
    token = await create_token(key_store, lifetime_seconds=5.0)
    assert (await client.get(UNKNOWN_JOB_URL, headers=bearer_headers(expired))).status_code == 401
    assert (await client.get(UNKNOWN_JOB_URL, headers=bearer_headers(token))).status_code == 404

    async def refused() -> httpx.Response | None:
        answer = await client.get(UNKNOWN_JOB_URL, headers=bearer_headers(token))
        return answer if answer.status_code == 401 else None

    answer = await eventually(refused)
    assert answer.json()["detail"] == f"the API key {token.key_id} has expired"


async def test_clip_above_the_limit_of_its_key_is_refused_before_and_during_upload(
    address: str, client: httpx.AsyncClient, key_store: ApiKeyStore, env: JobEnvironment
) -> None:
    token = await create_token(key_store, limits=CallerQuotas(upload_bytes=1000))
    early = await send_head_only(
        address, "POST", "/v1/jobs", [("Authorization", f"Bearer {token.text}")]
    )
    assert (early.status, json.loads(early.body)["code"]) == (413, "clip_too_large")

    async def chunked() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield bytes(500)

    headers = {**bearer_headers(token), "Content-Type": "video/mp4"}
    late = await client.post("/v1/jobs", content=chunked(), headers=headers)
    assert (late.status_code, late.json()["code"]) == (413, "clip_too_large")
    fits = await client.post("/v1/jobs", content=bytes(1000), headers=headers)
    assert fits.status_code == 202
    assert len(env.list_stored_files("clips")) == 1
