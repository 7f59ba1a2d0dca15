"""Fixtures of gateways that require API keys."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import httpx
import pytest

from service.auth.key_store import ApiKeyStore
from service.settings import Settings


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings of a gateway that requires API keys."""
    return settings.model_copy(update={"access": "keys"})


@pytest.fixture
async def key_store(settings: Settings) -> AsyncGenerator[ApiKeyStore]:
    async with ApiKeyStore.open(settings) as keys:
        yield keys


@pytest.fixture
async def client(address: str) -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=address, timeout=30.0) as client:
        yield client
