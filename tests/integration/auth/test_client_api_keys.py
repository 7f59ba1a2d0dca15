"""API keys of the Python client: argument and environment variable."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from circumplex_client import Client, RequestRefused
from circumplex_client.__main__ import main
from circumplex_client.live import LiveClient

from service.auth.key_store import ApiKeyStore
from tests.integration.auth.key_requests import create_token
from tests.integration.fakes import make_fake_analysis
from tests.integration.job_environment import JobEnvironment


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"clip")
    return path


@pytest.mark.parametrize("by_variable", [False, True])
async def test_client_sends_its_key(
    address: str,
    key_store: ApiKeyStore,
    env: JobEnvironment,
    clip: Path,
    monkeypatch: pytest.MonkeyPatch,
    by_variable: bool,
) -> None:
    text = (await create_token(key_store)).text
    if by_variable:
        monkeypatch.setenv("CIRCUMPLEX_API_KEY", f"{text}\n")
    async with env.running_worker(make_fake_analysis(3)):
        with Client(address, api_key=None if by_variable else text) as client:
            result = await asyncio.to_thread(client.annotate, clip)
        arguments = ["annotate", str(clip), "--url", address, "-o", str(clip.parent / "out")]
        credential = [] if by_variable else ["--api-key", text]
        assert await asyncio.to_thread(main, [*arguments, *credential]) == 0
    assert len(result) == 3


@pytest.mark.parametrize("key", ["cpx_\nsecret", "cpx_\xe9secret", "cpx_\0secret", "a secret"])
def test_what_cannot_be_a_key_is_refused_and_not_shown(
    key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for make in (Client, LiveClient):
        with pytest.raises(ValueError, match="API key") as caught:
            make("http://127.0.0.1:9", api_key=key)
        assert "secret" not in str(caught.value)
    assert main(["list", "--api-key", key]) == 2
    assert "secret" not in capsys.readouterr().err


async def test_client_without_a_key_raises_an_error(
    address: str, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CIRCUMPLEX_API_KEY", raising=False)
    with Client(address) as client, pytest.raises(RequestRefused) as refused:
        await asyncio.to_thread(client.submit, clip)
    assert refused.value.problem.code == "unauthenticated"
