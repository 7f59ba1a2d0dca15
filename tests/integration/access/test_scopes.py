"""What every route asks for, and that nobody sees what is not theirs."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import httpx
import pytest

from service.access.gate import Gate
from service.access.keyring import KeyRing
from service.api.app import create_app
from service.domain.caller import Scope
from service.jobs.record import new_job_id
from service.office.gateway import Gateway
from tests.integration.access.asking import bearing, submitted, token_for
from tests.integration.pretence import analysis_of
from tests.integration.rooms import Rooms
from tests.integration.servers import serving

NEEDED = {
    ("post", "/v1/jobs"): Scope.SUBMIT,
    ("get", "/v1/jobs"): Scope.READ,
    ("get", "/v1/jobs/{job_id}"): Scope.READ,
    ("delete", "/v1/jobs/{job_id}"): Scope.SUBMIT,
    ("post", "/v1/jobs/{job_id}:cancel"): Scope.SUBMIT,
    ("post", "/v1/jobs/{job_id}:retry"): Scope.SUBMIT,
    ("get", "/v1/jobs/{job_id}/events"): Scope.READ,
    ("get", "/v1/jobs/{job_id}/result"): Scope.READ,
}
"""What each route asks for, written down a second time: a new one has to be added here."""
OPEN = {("get", "/health/live"), ("get", "/health/ready"), ("get", "/metrics")}


@pytest.fixture
def operations(gateway: Gateway) -> dict[tuple[str, str], dict[str, Any]]:
    paths = create_app(gateway).openapi()["paths"]
    return {
        (method, path): operation
        for path, methods in paths.items()
        for method, operation in methods.items()
    }


async def test_every_route_is_known_to_be_open_or_to_ask_for_a_scope(
    operations: dict[tuple[str, str], dict[str, Any]],
) -> None:
    asked = {
        route: [{"bearer": [str(scope)]}, {"api_key": [str(scope)]}]
        for route, scope in NEEDED.items()
    }
    assert asked == {
        route: operation["security"]
        for route, operation in operations.items()
        if "security" in operation
    }
    assert set(operations) == set(NEEDED) | OPEN


async def test_every_refusal_of_the_gate_is_documented_where_it_can_happen(
    operations: dict[tuple[str, str], dict[str, Any]],
) -> None:
    codes = {"401": "unauthenticated", "403": "scope_missing", "429": "rate_exceeded"}
    for route in NEEDED:
        for status, code in {**codes, "503": "queue_unavailable"}.items():
            content = operations[route]["responses"][status]["content"]
            assert code in content["application/problem+json"]["examples"]
        headers = {status: operations[route]["responses"][status]["headers"] for status in codes}
        assert "WWW-Authenticate" in headers["401"]
        assert "Retry-After" in headers["429"]


async def test_an_open_gateway_says_that_keys_may_be_left_out(gateway: Gateway) -> None:
    settings = gateway.settings.model_copy(update={"access": "open"})
    async with Gate.open(settings) as gate:
        app = create_app(dataclasses.replace(gateway, gate=gate))
    assert app.openapi()["paths"]["/v1/jobs"]["post"]["security"][-1] == {}


@pytest.mark.parametrize("held", [*Scope, None])
@pytest.mark.parametrize(("method", "path"), [*NEEDED, *sorted(OPEN)])
async def test_a_route_opens_to_its_scope_and_to_an_admin(
    client: httpx.AsyncClient, keys: KeyRing, method: str, path: str, held: Scope | None
) -> None:
    needed = NEEDED.get((method, path))
    headers = {} if held is None else bearing(await token_for(keys, held))
    answer = await client.request(method, path.format(job_id=new_job_id()), headers=headers)

    if needed is None or held in (needed, Scope.ADMIN):
        assert answer.status_code not in (401, 403)
    elif held is None:
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    else:
        assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")


@pytest.mark.parametrize("is_done", [False, True])
async def test_a_job_of_another_key_answers_byte_for_byte_like_none_and_stays_as_it_is(
    client: httpx.AsyncClient, keys: KeyRing, rooms: Rooms, is_done: bool
) -> None:
    owner, other = await token_for(keys), await token_for(keys)
    admin = await token_for(keys, Scope.ADMIN)
    theirs, unknown = await submitted(client, owner), new_job_id()
    if is_done:
        async with rooms.worker(analysis_of(3)):
            await rooms.finished(theirs)
    path = f"/v1/jobs/{theirs}"
    before = (await client.get(path, headers=bearing(owner))).json()

    for method, route in NEEDED:
        if "{job_id}" not in route:
            continue
        request = {"method": method, "headers": bearing(other) | {"traceparent": TRACE}}
        found = await client.request(url=route.format(job_id=theirs), **request)
        absent = await client.request(url=route.format(job_id=unknown), **request)
        assert found.status_code == absent.status_code == 404
        assert found.content.replace(theirs.encode(), unknown.encode()) == absent.content
        assert _steady(found) == _steady(absent)

    assert (await client.get(path, headers=bearing(owner))).json() == before
    seen = (await client.get(path, headers=bearing(admin))).json()
    assert seen | before == seen  # an admin sees more
    assert (await client.delete(path, headers=bearing(admin))).status_code == 204
    assert (await client.get(path, headers=bearing(owner))).status_code == 404


async def test_lists_and_idempotency_keys_are_each_owners_own(
    client: httpx.AsyncClient, keys: KeyRing
) -> None:
    owners = [await token_for(keys), await token_for(keys)]
    admin = await token_for(keys, Scope.ADMIN)
    jobs: dict[str, list[str]] = {token.key_id: [] for token in owners}
    for number in range(3):
        for token in owners:
            headers = bearing(token) | {"Idempotency-Key": f"number {number}"}
            answer = await client.post("/v1/jobs", files={"clip": b"clip"}, headers=headers)
            assert "idempotency-replayed" not in answer.headers
            jobs[token.key_id].insert(0, answer.json()["id"])

    one, two = owners
    page = await client.get("/v1/jobs", params={"page_size": 1}, headers=bearing(one))
    token = {"page_token": page.json()["next_page_token"]}
    assert _ids(page) == jobs[one.key_id][:1]
    theirs = await client.get("/v1/jobs", params=token, headers=bearing(two))
    assert set(_ids(theirs)) <= set(jobs[two.key_id])
    assert _ids(await client.get("/v1/jobs", headers=bearing(two))) == jobs[two.key_id]
    everybodys = _ids(await client.get("/v1/jobs", headers=bearing(admin)))
    assert set(everybodys) == {job_id for owned in jobs.values() for job_id in owned}


def _ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [job["id"] for job in answer.json()["jobs"]]


async def test_a_stream_of_events_ends_with_its_key(
    client: httpx.AsyncClient, keys: KeyRing
) -> None:
    token = await token_for(keys)
    path = f"/v1/jobs/{await submitted(client, token)}/events"
    async with client.stream("GET", path, headers=bearing(token)) as events:
        lines = events.aiter_lines()
        async for line in lines:
            if line.startswith("data:"):
                break
        await keys.revoke(token.key_id)
        async with asyncio.timeout(20.0):  # of a job that nobody will ever take
            assert [line async for line in lines if line.startswith("data:")] == []


async def test_who_has_no_key_takes_nobodys_seat(gateway: Gateway, keys: KeyRing) -> None:
    settings = gateway.settings.model_copy(update={"max_subscribers": 0})
    path, held = f"/v1/jobs/{new_job_id()}/events", bearing(await token_for(keys))
    full = dataclasses.replace(gateway, settings=settings)
    async with serving(create_app(full)) as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.get(path)).json()["code"] == "unauthenticated"
        assert (await client.get(path, headers=held)).json()["code"] == "watchers_full"


TRACE = f"00-{'ab' * 16}-{'cd' * 8}-01"


def _steady(answer: httpx.Response) -> list[tuple[str, str]]:
    return [(name, value) for name, value in answer.headers.items() if name != "date"]
