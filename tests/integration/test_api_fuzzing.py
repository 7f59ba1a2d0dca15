"""Conformance of every operation with the OpenAPI document, under fuzzing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

import pytest

from tests.integration.api_fuzzing import fuzz
from tests.integration.servers import RedisServer


@pytest.mark.parametrize("access", ["open", "keys"])
async def test_every_operation_conforms_to_the_document_under_fuzzing(
    redis_server: RedisServer, tmp_path: Path, access: Literal["open", "keys"]
) -> None:
    run = await asyncio.to_thread(fuzz, tmp_path, redis_server.url, access, examples=15, seed=5)

    assert run.returncode == 0, run.stdout + run.stderr
    assert "Tested: 13" in run.stdout
