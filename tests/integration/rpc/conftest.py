from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator

import pytest

from service.access.keyring import KeyRing
from service.office.gateway import Gateway
from service.rpc.door import open_door
from service.settings import Settings
from tests.integration.rpc.scripted import ScriptedStreams
from tests.integration.rpc.talking import Client, talking


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings under which nothing waits long."""
    return settings.model_copy(
        update={"health_poll_seconds": 0.2, "drain_seconds": 2.0, "upload_idle_seconds": 2.0}
    )


@pytest.fixture
async def keys(settings: Settings) -> AsyncGenerator[KeyRing]:
    async with KeyRing.open(settings) as keys:
        yield keys


@pytest.fixture
def streams() -> ScriptedStreams:
    return ScriptedStreams()


@pytest.fixture
def gateway(gateway: Gateway, streams: ScriptedStreams) -> Gateway:
    return dataclasses.replace(gateway, streams=streams)


@pytest.fixture
async def target(gateway: Gateway) -> AsyncGenerator[str]:
    """Where the gateway serves gRPC."""
    async with open_door(gateway, 0) as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture
async def client(target: str) -> AsyncGenerator[Client]:
    async with talking(target) as client:
        yield client
