"""What every route asks for, and that nobody sees what is not theirs."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from service.access.gate import Gate
from service.access.keyring import KeyRing
from service.api.app import create_app
from service.api.gateway import Gateway
from service.domain.caller import Scope
from service.jobs.record import new_job_id
from tests.integration.access.asking import bearing, submitted, token_for
from tests.integration.pretence import analysis_of
from tests.integration.rooms import Rooms

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


async def test_an_open_gateway_says_that_keys_may_be_left_out(gateway: Gateway) -> None:
    settings = gateway.settings.model_copy(update={"access": "open"})
    async with Gate.open(settings) as gate:
        app = create_app(Gateway(**{**_parts(gateway), "gate": gate}))
    assert app.openapi()["paths"]["/v1/jobs"]["post"]["security"][-1] == {}


def _parts(gateway: Gateway) -> dict[str, Any]:
    return {name: getattr(gateway, name) for name in gateway.__slots__}


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


async def test_a_job_of_another_key_answers_byte_for_byte_like_none(
    client: httpx.AsyncClient, keys: KeyRing, rooms: Rooms
) -> None:
    owner, other = await token_for(keys), await token_for(keys)
    admin = await token_for(keys, Scope.ADMIN)
    theirs, unknown = await submitted(client, owner), new_job_id()
    async with rooms.worker(analysis_of(3)):
        await rooms.finished(theirs)

    for method, path in NEEDED:
        if "{job_id}" not in path:
            continue
        request = {"method": method, "headers": bearing(other) | {"traceparent": TRACE}}
        found = await client.request(url=path.format(job_id=theirs), **request)
        absent = await client.request(url=path.format(job_id=unknown), **request)
        assert found.status_code == absent.status_code == 404
        assert found.content.replace(theirs.encode(), unknown.encode()) == absent.content
        assert _steady(found) == _steady(absent)
        for token in (owner, admin) if method == "get" else ():
            seen = await client.request(method, path.format(job_id=theirs), headers=bearing(token))
            assert seen.is_success, seen.text


TRACE = f"00-{'ab' * 16}-{'cd' * 8}-01"


def _steady(answer: httpx.Response) -> list[tuple[str, str]]:
    return [(name, value) for name, value in answer.headers.items() if name != "date"]
