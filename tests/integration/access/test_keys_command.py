"""`circumplex keys` and the start of a gateway, as processes of their own."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from service.access.keyring import KeyRing
from service.cli import app
from service.domain.caller import Limits, Scope
from service.embedded.stack import as_environment
from service.settings import Settings
from tests.integration.access.asking import UNKNOWN
from tests.integration.access.commands import circumplex, started
from tests.integration.servers import free_port

TOKEN = re.compile(r"cpx_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}")


async def test_a_key_is_made_listed_and_revoked(settings: Settings, keys: KeyRing) -> None:
    options = ["--rate", "60", "--open-jobs", "5", "--stored-bytes", "1000", "--upload-bytes", "10"]
    asked = ["keys", "create", "le labo é", "--scope", "read", *options, "--expires", "30"]
    made = circumplex(settings, *asked)
    assert made.returncode == 0, made.stderr
    token = made.stdout.removesuffix("\n")
    assert TOKEN.fullmatch(token)
    assert token not in made.stderr

    [key] = await keys.every()
    assert key.id == token.split("_")[1]
    assert (key.name, key.scopes) == ("le labo é", {Scope.READ})
    assert key.limits == Limits(
        requests_per_minute=60, open_jobs=5, stored_bytes=1000, upload_bytes=10
    )
    assert key.expires_at is not None
    assert key.expires_at - key.created_at == pytest.approx(30 * 86_400)

    revoked = circumplex(settings, "keys", "revoke", key.id)
    assert (revoked.returncode, revoked.stdout) == (0, "")
    listed = circumplex(settings, "keys", "list")
    [row] = [line for line in listed.stdout.splitlines() if key.id in line]
    for part in ("le labo é", "read", "requests_per_minute=60", "upload_bytes=10", "revoked 2"):
        assert part in row
    assert token not in listed.stdout + listed.stderr + revoked.stderr


@pytest.fixture
def command() -> Iterator[CliRunner]:
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
def test_what_cannot_be_done_is_said(
    settings: Settings, command: CliRunner, arguments: list[str], told: str
) -> None:
    refused = command.invoke(app, ["keys", *arguments], env=as_environment(settings))
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert told in " ".join(refused.stderr.replace("│", " ").split())


@pytest.mark.parametrize("arguments", [["create", "x"], ["list"], ["revoke", "x"]])
def test_redis_away_is_said(settings: Settings, command: CliRunner, arguments: list[str]) -> None:
    nowhere = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}"})
    refused = command.invoke(app, ["keys", *arguments], env=as_environment(nowhere))
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "queue_unavailable" in refused.stderr


@pytest.mark.parametrize("command", ["gateway", "up"])
def test_a_gateway_that_others_can_reach_does_not_start_unprotected(
    settings: Settings, command: str
) -> None:
    update = {"access": "auto", "host": "0.0.0.0", "http_port": free_port()}
    refused = circumplex(settings.model_copy(update=update), command)
    assert refused.returncode == 1
    told = " ".join(refused.stderr.split())
    for part in ("access_undecided", "0.0.0.0", "circumplex keys create", "CIRCUMPLEX_ACCESS=keys"):
        assert part in told
    assert "CIRCUMPLEX_ACCESS=open" in told


@pytest.mark.parametrize(
    ("access", "host", "status"),
    [("auto", "127.0.0.1", 404), ("open", "0.0.0.0", 404), ("keys", "0.0.0.0", 401)],
)
def test_a_gateway_starts_once_somebody_has_said_who_is_let_in(
    settings: Settings, tmp_path: Path, access: str, host: str, status: int
) -> None:
    update = {"access": access, "host": host, "http_port": free_port()}
    with started(settings.model_copy(update=update), tmp_path / "log") as url:
        assert httpx.get(url + UNKNOWN).status_code == status
        if access == "keys":
            token = circumplex(settings, "keys", "create", "somebody").stdout.strip()
            held = {"X-API-Key": token}
            assert httpx.get(url + UNKNOWN, headers=held).status_code == 404
