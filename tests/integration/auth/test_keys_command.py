"""`circumplex keys` and the start of a gateway, as processes of their own."""

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


async def test_a_key_is_made_listed_and_revoked(settings: Settings, key_store: ApiKeyStore) -> None:
    options = ["--rate", "60", "--open-jobs", "5", "--stored-bytes", "1000", "--upload-bytes", "10"]
    asked = ["keys", "create", "le labo é", "--scope", "read", *options, "--expires", "30"]
    made = run_circumplex(settings, *asked)
    assert made.returncode == 0, made.stderr
    token = made.stdout.removesuffix("\n")
    assert TOKEN.fullmatch(token)
    assert token not in made.stderr

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
    """Runs the command line in here, and takes back the logging that it configures."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield CliRunner()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["revoke", "nobody"], "there is no key with the id 'nobody'"),
        (["create", "two\nlines"], "printable letters"),
        (["create", " "], "printable letters"),
        (["create", "x" * 65], "1 to 64"),
        (["create", "x", "--scope", "all"], "'all' is not one of"),
        (["create", "x", "--rate", "0"], "--rate"),
        *((["create", "x", "--expires", days], "--expires") for days in ("0", "1e9", "nan")),
    ],
)
def test_command_failures_are_reported(
    settings: Settings, cli_runner: CliRunner, arguments: list[str], told: str
) -> None:
    refused = cli_runner.invoke(app, ["keys", *arguments], env=settings_to_environment(settings))
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert told in " ".join(refused.stderr.replace("│", " ").split())


@pytest.mark.parametrize("arguments", [["create", "x"], ["list"], ["revoke", "x"]])
def test_unavailable_redis_is_reported(
    settings: Settings, cli_runner: CliRunner, arguments: list[str]
) -> None:
    nowhere = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}"})
    refused = cli_runner.invoke(app, ["keys", *arguments], env=settings_to_environment(nowhere))
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "queue_unavailable" in refused.stderr


@pytest.mark.parametrize("cli_runner", ["gateway", "up"])
def test_a_gateway_that_others_can_reach_does_not_start_unprotected(
    settings: Settings, cli_runner: str
) -> None:
    update = {"access": "auto", "host": "0.0.0.0", "http_port": free_port()}
    refused = run_circumplex(settings.model_copy(update=update), cli_runner)
    assert refused.returncode == 1
    told = " ".join(refused.stderr.split())
    for part in ("access_undecided", "0.0.0.0", "circumplex keys create", "CIRCUMPLEX_ACCESS=keys"):
        assert part in told
    assert "CIRCUMPLEX_ACCESS=open" in told


@pytest.mark.parametrize(
    ("access", "host", "status"),
    [("auto", "127.0.0.1", 404), ("open", "0.0.0.0", 404), ("keys", "0.0.0.0", 401)],
)
def test_a_public_gateway_starts_once_access_is_configured(
    settings: Settings, tmp_path: Path, access: str, host: str, status: int
) -> None:
    update = {"access": access, "host": host, "http_port": free_port()}
    with running_gateway(settings.model_copy(update=update), tmp_path / "log") as url:
        assert httpx.get(url + UNKNOWN_JOB_URL).status_code == status
        if access == "keys":
            token = run_circumplex(settings, "keys", "create", "somebody").stdout.strip()
            held = {"X-API-Key": token}
            assert httpx.get(url + UNKNOWN_JOB_URL, headers=held).status_code == 404
