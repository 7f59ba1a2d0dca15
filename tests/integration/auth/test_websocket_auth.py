"""Authentication of WebSocket streams, and their audit entries."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from service.auth.api_key import new_token
from service.auth.audit_log import AuditLog
from service.auth.key_store import ApiKeyStore
from service.domain.caller import CallerQuotas, Scope
from service.gateway.context import GatewayContext
from service.gateway.rest.app import create_app
from service.settings import Settings
from tests.integration.auth.key_requests import bearer_headers, create_token
from tests.integration.fake_streams import FakeStreams
from tests.integration.job_environment import eventually
from tests.integration.servers import serving
from tests.integration.websocket_client import (
    END_MESSAGE,
    JPEG_CONFIG,
    TIMEOUT_SECONDS,
    open_websocket,
    receive_message,
    receive_until_closed,
    send_message,
)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"audit_file": tmp_path / "audit.jsonl"})


@pytest.fixture
def streams() -> FakeStreams:
    return FakeStreams()


@pytest.fixture
async def address(gateway: GatewayContext, streams: FakeStreams) -> AsyncGenerator[str]:
    async with AuditLog.open(gateway.settings) as audit:
        changed = dataclasses.replace(gateway, streams=streams, audit_log=audit)
        async with serving(create_app(changed)) as url, asyncio.timeout(4 * TIMEOUT_SECONDS):
            yield url


async def run_session(address: str, **options: Any) -> tuple[list[dict[str, Any]], int | None]:
    async with open_websocket(address, **options) as socket:
        await send_message(socket, JPEG_CONFIG)
        await send_message(socket, END_MESSAGE)
        return await receive_until_closed(socket)


async def wait_for_audit_entries(settings: Settings, count: int) -> list[dict[str, Any]]:
    """The entries of the audit file, once there are `count`."""
    file = settings.audit_file
    assert file is not None

    async def poll() -> list[dict[str, Any]] | None:
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        return lines if len(lines) >= count else None

    return await eventually(poll, TIMEOUT_SECONDS)


async def test_key_may_be_a_header_or_a_subprotocol(
    address: str, key_store: ApiKeyStore, streams: FakeStreams
) -> None:
    token = await create_token(key_store)
    offered = ["circumplex.v1", f"bearer.{token.text}"]
    for options in (
        {"subprotocols": offered},
        {"additional_headers": bearer_headers(token)},
        {"additional_headers": {"X-API-Key": token.text}},
        {"additional_headers": bearer_headers(token), "subprotocols": offered},
    ):
        messages, code = await run_session(address, **options)
        assert ([list(each) for each in messages], code) == ([["config_ack"], ["summary"]], 1000)
    async with open_websocket(address, subprotocols=offered) as socket:
        assert socket.subprotocol == "circumplex.v1"
    assert {caller.owner for caller in streams.callers} == {token.key_id}


async def test_unauthorized_streams_get_a_reason_and_are_audited(
    address: str, key_store: ApiKeyStore, settings: Settings, streams: FakeStreams
) -> None:
    token, reader = await create_token(key_store), await create_token(key_store, Scope.READ)
    limited = await create_token(key_store, limits=CallerQuotas(requests_per_minute=1))
    unknown_token = new_token()
    two = ["circumplex.v1", f"bearer.{unknown_token.text}"]
    sessions = [
        await run_session(address),
        await run_session(address, additional_headers=bearer_headers(unknown_token)),
        await run_session(address, additional_headers=bearer_headers(token), subprotocols=two),
        await run_session(address, additional_headers=bearer_headers(reader)),
        await run_session(address, additional_headers=bearer_headers(limited)),
        await run_session(address, additional_headers=bearer_headers(limited)),
    ]
    lines = await wait_for_audit_entries(settings, len(sessions))

    assert [code for _, code in sessions] == [4401, 4401, 4401, 4403, 1000, 4429]
    errors = [each[0]["error"] for each, code in sessions if code != 1000]
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
    for each in (token, reader, limited, unknown_token):
        assert each.text not in json.dumps(lines)


async def test_stream_ends_when_its_key_is_revoked(address: str, key_store: ApiKeyStore) -> None:
    token = await create_token(key_store)
    async with open_websocket(address, additional_headers=bearer_headers(token)) as socket:
        await send_message(socket, JPEG_CONFIG)
        await receive_message(socket)
        await key_store.revoke(token.key_id)
        messages, code = await receive_until_closed(socket)
    assert [message["error"]["code"] for message in messages] == ["unauthenticated"]
    assert code == 4401
