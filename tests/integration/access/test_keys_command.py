"""`circumplex keys` and the start of a gateway, as processes of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

import httpx
import pytest

from service.access.keyring import KeyRing
from service.domain.caller import Limits, Scope
from service.embedded.stack import as_environment
from service.settings import Settings
from tests.integration.access.asking import UNKNOWN
from tests.integration.servers import free_port

START_SECONDS = 60.0
TOKEN = re.compile(r"cpx_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}")


def circumplex(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        env=os.environ | as_environment(settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=START_SECONDS,
    )


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


def test_what_cannot_be_done_is_said(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}"})
    unknown = circumplex(settings, "keys", "revoke", "nobody")
    assert unknown.returncode == 2
    assert "there is no key with the id 'nobody'" in unknown.stderr
    away = circumplex(nowhere, "keys", "create", "somebody")
    assert (away.returncode, away.stdout) == (1, "")
    assert "queue_unavailable" in away.stderr
    unnamed = circumplex(settings, "keys", "create", "two\nlines")
    assert (unnamed.returncode, unnamed.stdout) == (2, "")
    assert "Traceback" not in unknown.stderr + away.stderr + unnamed.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_gateway_that_others_can_reach_does_not_start_unprotected(
    settings: Settings, host: str
) -> None:
    update = {"access": "auto", "host": host, "http_port": free_port()}
    refused = circumplex(settings.model_copy(update=update), "gateway")
    assert refused.returncode == 1
    told = " ".join(refused.stderr.split())
    for part in ("access_undecided", host, "circumplex keys create", "CIRCUMPLEX_ACCESS=keys"):
        assert part in told
    assert "CIRCUMPLEX_ACCESS=open" in told


@contextmanager
def started(settings: Settings) -> Generator[str]:
    """The gateway that `circumplex gateway` starts; yields its address."""
    url = f"http://127.0.0.1:{settings.http_port}"
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "gateway"], env=os.environ | as_environment(settings)
    )
    try:
        until = time.monotonic() + START_SECONDS
        while not _answers(url):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(START_SECONDS)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live").is_success
    except httpx.TransportError:
        return False


@pytest.mark.parametrize(
    ("access", "host", "status"),
    [("auto", "127.0.0.1", 404), ("open", "0.0.0.0", 404), ("keys", "0.0.0.0", 401)],
)
def test_a_gateway_starts_once_somebody_has_said_who_is_let_in(
    settings: Settings, access: str, host: str, status: int
) -> None:
    update = {"access": access, "host": host, "http_port": free_port()}
    with started(settings.model_copy(update=update)) as url:
        assert httpx.get(url + UNKNOWN).status_code == status
        if access == "keys":
            token = circumplex(settings, "keys", "create", "somebody").stdout.strip()
            held = {"X-API-Key": token}
            assert httpx.get(url + UNKNOWN, headers=held).status_code == 404
