"""Who may stream over a WebSocket, and what is written down of it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from service.access.audit import Audit
from service.access.keyring import KeyRing
from service.access.token import new_token
from service.api.app import create_app
from service.domain.caller import Limits, Scope
from service.office.gateway import Gateway
from service.settings import Settings
from tests.integration.access.asking import bearing, token_for
from tests.integration.pretended_streams import PretendedStreams
from tests.integration.rooms import eventually
from tests.integration.servers import serving
from tests.integration.sockets import (
    END,
    JPEG_FRAMES,
    PATIENCE_SECONDS,
    hear,
    opened,
    rest_of,
    say,
)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"audit_file": tmp_path / "audit.jsonl"})


@pytest.fixture
def streams() -> PretendedStreams:
    return PretendedStreams()


@pytest.fixture
async def address(gateway: Gateway, streams: PretendedStreams) -> AsyncGenerator[str]:
    async with Audit.open(gateway.settings) as audit:
        changed = dataclasses.replace(gateway, streams=streams, audit=audit)
        async with serving(create_app(changed)) as url, asyncio.timeout(4 * PATIENCE_SECONDS):
            yield url


async def session(address: str, **options: Any) -> tuple[list[dict[str, Any]], int | None]:
    async with opened(address, **options) as socket:
        await say(socket, JPEG_FRAMES)
        await say(socket, END)
        return await rest_of(socket)


async def written(settings: Settings, count: int) -> list[dict[str, Any]]:
    """The audit file's lines, when there are so many."""
    file = settings.audit_file
    assert file is not None

    async def look() -> list[dict[str, Any]] | None:
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        return lines if len(lines) >= count else None

    return await eventually(look, PATIENCE_SECONDS)


async def test_a_key_comes_as_a_page_or_a_program_can_send_it(
    address: str, keys: KeyRing, streams: PretendedStreams
) -> None:
    token = await token_for(keys)
    offered = ["circumplex.v1", f"bearer.{token.text}"]
    for options in (
        {"subprotocols": offered},
        {"additional_headers": bearing(token)},
        {"additional_headers": {"X-API-Key": token.text}},
        {"additional_headers": bearing(token), "subprotocols": offered},
    ):
        told, code = await session(address, **options)
        assert ([list(each) for each in told], code) == ([["config_ack"], ["summary"]], 1000)
    async with opened(address, subprotocols=offered) as socket:
        assert socket.subprotocol == "circumplex.v1"
    assert {caller.owner for caller in streams.callers} == {token.key_id}


async def test_who_may_not_stream_is_told_why_and_leaves_a_trace(
    address: str, keys: KeyRing, settings: Settings, streams: PretendedStreams
) -> None:
    token, reader = await token_for(keys), await token_for(keys, Scope.READ)
    limited = await token_for(keys, limits=Limits(requests_per_minute=1))
    stranger = new_token()
    two = ["circumplex.v1", f"bearer.{stranger.text}"]
    told = [
        await session(address),
        await session(address, additional_headers=bearing(stranger)),
        await session(address, additional_headers=bearing(token), subprotocols=two),
        await session(address, additional_headers=bearing(reader)),
        await session(address, additional_headers=bearing(limited)),
        await session(address, additional_headers=bearing(limited)),
    ]
    lines = await written(settings, len(told))

    assert [code for _, code in told] == [4401, 4401, 4401, 4403, 1000, 4429]
    errors = [each[0]["error"] for each, code in told if code != 1000]
    assert [error["code"] for error in errors] == [
        *("unauthenticated", "unauthenticated", "unauthenticated", "scope_missing"),
        "rate_exceeded",
    ]
    assert errors[-1]["retryable"]
    assert 0 < errors[-1]["retry_seconds"] <= 60
    assert len(streams.callers) == 1
    assert [(line["action"], line["outcome"], line["status"]) for line in lines] == [
        ("streaming_annotate", "unauthenticated", 4401),
        ("streaming_annotate", "unauthenticated", 4401),
        ("streaming_annotate", "unauthenticated", 4401),
        ("streaming_annotate", "scope_missing", 4403),
        ("streaming_annotate", "ok", 1000),
        ("streaming_annotate", "rate_exceeded", 4429),
    ]
    assert [line["key_id"] for line in lines[3:]] == [
        *(reader.key_id, limited.key_id, limited.key_id)
    ]
    assert {line["client"] for line in lines} == {"127.0.0.1"}
    assert [error["trace_id"] for error in errors] == [
        line["trace_id"] for line in lines if line["outcome"] != "ok"
    ]
    for each in (token, reader, limited, stranger):
        assert each.text not in json.dumps(lines)


async def test_a_stream_ends_when_its_key_is_revoked(address: str, keys: KeyRing) -> None:
    token = await token_for(keys)
    async with opened(address, additional_headers=bearing(token)) as socket:
        await say(socket, JPEG_FRAMES)
        await hear(socket)
        await keys.revoke(token.key_id)
        told, code = await rest_of(socket)
    assert [message["error"]["code"] for message in told] == ["unauthenticated"]
    assert code == 4401
