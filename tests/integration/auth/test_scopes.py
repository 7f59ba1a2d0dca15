"""Scopes of every route, and isolation between owners."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import httpx
import pytest

from service.auth.authenticator import Authenticator
from service.auth.key_store import ApiKeyStore
from service.domain.caller import Scope
from service.gateway.context import GatewayContext
from service.gateway.rest.app import create_app
from service.jobs.record import new_job_id
from tests.integration.auth.key_requests import bearer_headers, create_token, submit_job
from tests.integration.fakes import make_fake_analysis
from tests.integration.job_environment import JobEnvironment
from tests.integration.servers import serving

REQUIRED_SCOPES = {
    ("post", "/v1/jobs"): Scope.SUBMIT,
    ("get", "/v1/jobs"): Scope.READ,
    ("get", "/v1/jobs/{job_id}"): Scope.READ,
    ("delete", "/v1/jobs/{job_id}"): Scope.SUBMIT,
    ("post", "/v1/jobs/{job_id}:cancel"): Scope.SUBMIT,
    ("post", "/v1/jobs/{job_id}:retry"): Scope.SUBMIT,
    ("get", "/v1/jobs/{job_id}/events"): Scope.READ,
    ("get", "/v1/jobs/{job_id}/result"): Scope.READ,
    ("get", "/v1/models"): Scope.READ,
    ("get", "/v1/models/{model}"): Scope.READ,
}
"""Scope of each route, on purpose repeated here: a new route has to be added."""
PUBLIC_ROUTES = {("get", "/health/live"), ("get", "/health/ready"), ("get", "/metrics")}


@pytest.fixture
def openapi_operations(gateway: GatewayContext) -> dict[tuple[str, str], dict[str, Any]]:
    paths = create_app(gateway).openapi()["paths"]
    return {
        (method, path): operation
        for path, methods in paths.items()
        for method, operation in methods.items()
    }


async def test_every_route_is_public_or_requires_a_scope(
    openapi_operations: dict[tuple[str, str], dict[str, Any]],
) -> None:
    expected = {
        route: [{"bearer": [str(scope)]}, {"api_key": [str(scope)]}]
        for route, scope in REQUIRED_SCOPES.items()
    }
    assert expected == {
        route: operation["security"]
        for route, operation in openapi_operations.items()
        if "security" in operation
    }
    assert set(openapi_operations) == set(REQUIRED_SCOPES) | PUBLIC_ROUTES


async def test_every_authentication_error_is_documented(
    openapi_operations: dict[tuple[str, str], dict[str, Any]],
) -> None:
    codes = {"401": "unauthenticated", "403": "scope_missing", "429": "rate_exceeded"}
    for route in REQUIRED_SCOPES:
        for status, code in {**codes, "503": "queue_unavailable"}.items():
            content = openapi_operations[route]["responses"][status]["content"]
            assert code in content["application/problem+json"]["examples"]
        headers = {
            status: openapi_operations[route]["responses"][status]["headers"] for status in codes
        }
        assert "WWW-Authenticate" in headers["401"]
        assert "Retry-After" in headers["429"]


async def test_openapi_makes_keys_optional_without_access_control(gateway: GatewayContext) -> None:
    settings = gateway.settings.model_copy(update={"access": "open"})
    async with Authenticator.open(settings) as authenticator:
        app = create_app(dataclasses.replace(gateway, authenticator=authenticator))
    assert app.openapi()["paths"]["/v1/jobs"]["post"]["security"][-1] == {}


@pytest.mark.parametrize("granted", [*Scope, None])
@pytest.mark.parametrize(("method", "path"), [*REQUIRED_SCOPES, *sorted(PUBLIC_ROUTES)])
async def test_route_accepts_its_scope_and_admin(
    client: httpx.AsyncClient, key_store: ApiKeyStore, method: str, path: str, granted: Scope | None
) -> None:
    needed = REQUIRED_SCOPES.get((method, path))
    headers = {} if granted is None else bearer_headers(await create_token(key_store, granted))
    answer = await client.request(
        method, path.format(job_id=new_job_id(), model="mini"), headers=headers
    )

    if needed is None or granted in (needed, Scope.ADMIN):
        assert answer.status_code not in (401, 403)
    elif granted is None:
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    else:
        assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")


@pytest.mark.parametrize("is_done", [False, True])
async def test_job_of_another_key_is_indistinguishable_from_an_unknown_one(
    client: httpx.AsyncClient, key_store: ApiKeyStore, env: JobEnvironment, is_done: bool
) -> None:
    owner, other = await create_token(key_store), await create_token(key_store)
    admin = await create_token(key_store, Scope.ADMIN)
    owned_job, unknown = await submit_job(client, owner), new_job_id()
    if is_done:
        async with env.running_worker(make_fake_analysis(3)):
            await env.wait_for_end(owned_job)
    path = f"/v1/jobs/{owned_job}"
    before = (await client.get(path, headers=bearer_headers(owner))).json()

    for method, route in REQUIRED_SCOPES:
        if "{job_id}" not in route:
            continue
        headers = bearer_headers(other) | {"traceparent": TRACE}
        found = await client.request(method, route.format(job_id=owned_job), headers=headers)
        absent = await client.request(method, route.format(job_id=unknown), headers=headers)
        assert found.status_code == absent.status_code == 404
        assert found.content.replace(owned_job.encode(), unknown.encode()) == absent.content
        assert _stable_headers(found) == _stable_headers(absent)

    assert (await client.get(path, headers=bearer_headers(owner))).json() == before
    full = (await client.get(path, headers=bearer_headers(admin))).json()
    assert full | before == full  # an admin sees more fields
    assert (await client.delete(path, headers=bearer_headers(admin))).status_code == 204
    assert (await client.get(path, headers=bearer_headers(owner))).status_code == 404


async def test_lists_and_idempotency_keys_are_separate_for_each_owner(
    client: httpx.AsyncClient, key_store: ApiKeyStore
) -> None:
    owners = [await create_token(key_store), await create_token(key_store)]
    admin = await create_token(key_store, Scope.ADMIN)
    jobs: dict[str, list[str]] = {token.key_id: [] for token in owners}
    for number in range(3):
        for token in owners:
            headers = bearer_headers(token) | {"Idempotency-Key": f"number {number}"}
            answer = await client.post("/v1/jobs", files={"clip": b"clip"}, headers=headers)
            assert "idempotency-replayed" not in answer.headers
            jobs[token.key_id].insert(0, answer.json()["id"])

    one, two = owners
    page = await client.get("/v1/jobs", params={"page_size": 1}, headers=bearer_headers(one))
    token = {"page_token": page.json()["next_page_token"]}
    assert _job_ids(page) == jobs[one.key_id][:1]
    foreign_page = await client.get("/v1/jobs", params=token, headers=bearer_headers(two))
    assert set(_job_ids(foreign_page)) <= set(jobs[two.key_id])
    assert _job_ids(await client.get("/v1/jobs", headers=bearer_headers(two))) == jobs[two.key_id]
    all_jobs = _job_ids(await client.get("/v1/jobs", headers=bearer_headers(admin)))
    assert set(all_jobs) == {job_id for owned in jobs.values() for job_id in owned}


def _job_ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [job["id"] for job in answer.json()["jobs"]]


async def test_event_stream_ends_when_its_key_is_revoked(
    client: httpx.AsyncClient, key_store: ApiKeyStore
) -> None:
    token = await create_token(key_store)
    path = f"/v1/jobs/{await submit_job(client, token)}/events"
    async with client.stream("GET", path, headers=bearer_headers(token)) as events:
        lines = events.aiter_lines()
        async for line in lines:
            if line.startswith("data:"):
                break
        await key_store.revoke(token.key_id)
        async with asyncio.timeout(20.0):  # the job itself never ends
            assert [line async for line in lines if line.startswith("data:")] == []


async def test_unauthenticated_requests_take_no_subscriber_slot(
    gateway: GatewayContext, key_store: ApiKeyStore
) -> None:
    settings = gateway.settings.model_copy(update={"max_subscribers": 0})
    path, headers = f"/v1/jobs/{new_job_id()}/events", bearer_headers(await create_token(key_store))
    full = dataclasses.replace(gateway, settings=settings)
    async with serving(create_app(full)) as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.get(path)).json()["code"] == "unauthenticated"
        assert (await client.get(path, headers=headers)).json()["code"] == "watchers_full"


TRACE = f"00-{'ab' * 16}-{'cd' * 8}-01"


def _stable_headers(answer: httpx.Response) -> list[tuple[str, str]]:
    return [(name, value) for name, value in answer.headers.items() if name != "date"]
