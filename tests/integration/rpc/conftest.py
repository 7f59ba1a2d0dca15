"""Fixtures: a gRPC server with scripted streams, and a client of it."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator

import pytest

from service.auth.key_store import ApiKeyStore
from service.gateway.context import GatewayContext
from service.settings import Settings
from tests.integration.rpc.grpc_client import GrpcClient, open_grpc_client
from tests.integration.rpc.scripted_streams import ScriptedStreams
from tests.integration.servers import serving_grpc


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings with short intervals and time-outs."""
    return settings.model_copy(
        update={"health_poll_seconds": 0.2, "drain_seconds": 2.0, "upload_idle_seconds": 2.0}
    )


@pytest.fixture
async def key_store(settings: Settings) -> AsyncGenerator[ApiKeyStore]:
    async with ApiKeyStore.open(settings) as keys:
        yield keys


@pytest.fixture
def streams() -> ScriptedStreams:
    return ScriptedStreams()


@pytest.fixture
def gateway(gateway: GatewayContext, streams: ScriptedStreams) -> GatewayContext:
    return dataclasses.replace(gateway, streams=streams)


@pytest.fixture
async def target(gateway: GatewayContext) -> AsyncGenerator[str]:
    """Address of the gRPC server."""
    async with serving_grpc(gateway, 0) as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture
async def client(target: str) -> AsyncGenerator[GrpcClient]:
    async with open_grpc_client(target) as client:
        yield client
