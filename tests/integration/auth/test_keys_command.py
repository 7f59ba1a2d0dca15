"""`circumplex keys`, and the start of a gateway by its access mode."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from service.auth.key_store import ApiKeyStore
from service.cli.main import app
from service.domain.caller import CallerQuotas, Scope
from service.embedded.stack import settings_to_environment
from service.settings import Settings
from tests.integration.auth.cli_processes import run_circumplex, running_gateway
from tests.integration.auth.key_requests import UNKNOWN_JOB_URL
from tests.integration.servers import free_port

TOKEN = re.compile(r"cpx_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}")


async def test_key_is_created_listed_and_revoked(
    settings: Settings, key_store: ApiKeyStore
) -> None:
    options = ["--rate", "60", "--open-jobs", "5", "--stored-bytes", "1000", "--upload-bytes", "10"]
    arguments = ["keys", "create", "le labo é", "--scope", "read", *options, "--expires", "30"]
    created = run_circumplex(settings, *arguments)
    assert created.returncode == 0, created.stderr
    token = created.stdout.removesuffix("\n")
    assert TOKEN.fullmatch(token)
    assert token not in created.stderr

    [key] = await key_store.list_keys()
    assert key.id == token.split("_")[1]
    assert (key.name, key.scopes) == ("le labo é", {Scope.READ})
    assert key.limits == CallerQuotas(
        requests_per_minute=60, open_jobs=5, stored_bytes=1000, upload_bytes=10
    )
    assert key.expires_at is not None
    assert key.expires_at - key.created_at == pytest.approx(30 * 86_400)

    revoked = run_circumplex(settings, "keys", "revoke", key.id)
    assert (revoked.returncode, revoked.stdout) == (0, "")
    listed = run_circumplex(settings, "keys", "list")
    [row] = [line for line in listed.stdout.splitlines() if key.id in line]
    for part in ("le labo é", "read", "requests_per_minute=60", "upload_bytes=10", "revoked 2"):
        assert part in row
    assert token not in listed.stdout + listed.stderr + revoked.stderr


@pytest.fixture
def cli_runner() -> Iterator[CliRunner]:
    """Runner of the command line; restores the logging that it configures."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield CliRunner()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["revoke", "unknown"], "there is no key with the id 'unknown'"),
        (["create", "two\nlines"], "printable letters"),
        (["create", " "], "printable letters"),
        (["create", "x" * 65], "1 to 64"),
        (["create", "x", "--scope", "all"], "'all' is not one of"),
        (["create", "x", "--rate", "0"], "--rate"),
        *((["create", "x", "--expires", days], "--expires") for days in ("0", "1e9", "nan")),
    ],
)
def test_command_failures_are_reported(
    settings: Settings, cli_runner: CliRunner, arguments: list[str], message: str
) -> None:
    refused = cli_runner.invoke(app, ["keys", *arguments], env=settings_to_environment(settings))
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert message in " ".join(refused.stderr.replace("│", " ").split())


@pytest.mark.parametrize("arguments", [["create", "x"], ["list"], ["revoke", "x"]])
def test_unavailable_redis_is_reported(
    settings: Settings, cli_runner: CliRunner, arguments: list[str]
) -> None:
    unreachable = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}"})
    refused = cli_runner.invoke(app, ["keys", *arguments], env=settings_to_environment(unreachable))
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "queue_unavailable" in refused.stderr


@pytest.mark.parametrize("command", ["gateway", "up"])
def test_reachable_gateway_does_not_start_without_an_access_mode(
    settings: Settings, command: str
) -> None:
    update = {"access": "auto", "host": "0.0.0.0", "http_port": free_port()}
    refused = run_circumplex(settings.model_copy(update=update), command)
    assert refused.returncode == 1
    message = " ".join(refused.stderr.split())
    for part in ("access_undecided", "0.0.0.0", "circumplex keys create", "CIRCUMPLEX_ACCESS=keys"):
        assert part in message
    assert "CIRCUMPLEX_ACCESS=open" in message


@pytest.mark.parametrize(
    ("access", "host", "status"),
    [("auto", "127.0.0.1", 404), ("open", "0.0.0.0", 404), ("keys", "0.0.0.0", 401)],
)
def test_public_gateway_starts_with_an_access_mode(
    settings: Settings, tmp_path: Path, access: str, host: str, status: int
) -> None:
    update = {"access": access, "host": host, "http_port": free_port()}
    with running_gateway(settings.model_copy(update=update), tmp_path / "log") as url:
        assert httpx.get(url + UNKNOWN_JOB_URL).status_code == status
        if access == "keys":
            token = run_circumplex(settings, "keys", "create", "test key").stdout.strip()
            credential = {"X-API-Key": token}
            assert httpx.get(url + UNKNOWN_JOB_URL, headers=credential).status_code == 404
