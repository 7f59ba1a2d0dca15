"""Audit log: entries of every action, no secrets, rotation and write failures."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.auth.api_key import new_token
from service.auth.audit_log import AuditEntry, AuditLog
from service.auth.key_store import ApiKeyStore
from service.domain.caller import CallerQuotas, Scope
from service.errors import AuditUnwritable
from service.redis_client.client import connect_redis
from service.settings import Settings
from tests.integration.auth.cli_processes import run_circumplex, running_gateway
from tests.integration.auth.key_requests import create_token
from tests.integration.fakes import make_fake_analysis
from tests.integration.job_environment import JobEnvironment
from tests.integration.redis_access import run_command
from tests.integration.servers import free_port


def read_entries(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture
def audit_settings(settings: Settings, tmp_path: Path) -> Settings:
    update = {
        "audit_file": tmp_path / "audit.jsonl",
        "http_port": free_port(),
        "log_level": "debug",
    }
    return settings.model_copy(update=update)


async def perform_every_action(
    url: str, env: JobEnvironment, *, full: str, narrow: str, unknown: str
) -> tuple[str, list[int]]:
    """Send one request of each kind; returns the id of the job and the HTTP statuses."""
    trace = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    async with httpx.AsyncClient(base_url=url, headers=trace) as client:

        async def send(method: str, path: str, token: str, **options: Any) -> httpx.Response:
            return await client.request(method, path, headers=bearer_headers(token), **options)

        submit = await send("POST", "/v1/jobs", full, files={"clip": b"a"})
        job_id: str = submit.json()["id"]
        async with env.running_worker(make_fake_analysis(3)):
            await env.wait_for_end(job_id)
        path = f"/v1/jobs/{job_id}"
        responses = [
            await send("GET", path, full),
            await send("GET", f"{path}/result", full),
            await send("GET", path, unknown),
            await send("POST", "/v1/jobs", narrow),
            await send("GET", path, narrow),
            await send("POST", "/v1/jobs", full, data={"a": "b"}),
            await send("GET", "/health/live", full),
            await send("GET", "/v1/jobs", full),
            await send("POST", f"{path}:cancel", full),
            await send("POST", f"{path}:retry", full),
            await send("DELETE", path, full),
        ]
    return job_id, [response.status_code for response in responses]


def assert_every_action_is_audited(
    entries: list[dict[str, Any]], job_id: str, *, full: str, narrow: str
) -> None:
    first, second = full.split("_")[1], narrow.split("_")[1]
    assert [
        ("create_key", "ok", first, None),
        ("submit_job", "ok", first, job_id),
        ("get_result", "ok", first, job_id),
        ("get_job", "unauthenticated", None, job_id),
        ("submit_job", "scope_missing", second, None),
        ("get_job", "rate_exceeded", second, job_id),
        ("submit_job", "media_type_unsupported", first, None),
        ("cancel_job", "job_finished", first, job_id),
        ("retry_job", "job_not_retryable", first, job_id),
        ("delete_job", "ok", first, job_id),
        ("revoke_key", "ok", first, None),
    ] == [tuple(map(entry.get, ("action", "outcome", "key_id", "job_id"))) for entry in entries]
    served = entries[1:10]
    assert {entry["client"] for entry in served} == {"127.0.0.1"}
    assert {entry["trace_id"] for entry in served} == {"ab" * 16}
    assert [entry["status"] for entry in served] == [202, 200, 401, 403, 429, 415, 409, 409, 204]


async def test_every_action_is_audited_without_secrets(
    audit_settings: Settings, env: JobEnvironment, key_store: ApiKeyStore, tmp_path: Path
) -> None:
    log, file = tmp_path / "gateway.log", audit_settings.audit_file
    assert file is not None
    created = await asyncio.to_thread(run_circumplex, audit_settings, "keys", "create", "lab")
    full = created.stdout.strip()
    limits = CallerQuotas(requests_per_minute=1)
    narrow = (await create_token(key_store, Scope.READ, limits=limits)).text
    unknown = new_token().text
    with running_gateway(audit_settings, log) as url:
        job_id, statuses = await perform_every_action(
            url, env, full=full, narrow=narrow, unknown=unknown
        )
    revoked = await asyncio.to_thread(
        run_circumplex, audit_settings, "keys", "revoke", full.split("_")[1]
    )

    assert statuses == [200, 200, 401, 403, 429, 415, 200, 200, 409, 409, 204]
    assert_every_action_is_audited(read_entries(file), job_id, full=full, narrow=narrow)
    assert file.stat().st_mode & 0o777 == 0o600
    assert log.read_text().count(" circumplex.audit ") == 9

    redis_files = await read_redis_append_log(audit_settings)
    texts = [log.read_text(), file.read_text(), created.stderr, revoked.stderr, *redis_files]
    for secret in (token.split("_")[2] for token in (full, narrow, unknown)):
        assert not any(secret in text for text in texts)
    assert any(full.split("_")[1] in text for text in redis_files)


def bearer_headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def read_redis_append_log(settings: Settings) -> list[str]:
    """The append-only files of Redis, which hold every command it has received."""
    async with connect_redis(settings.redis_url) as client:
        await run_command(client, "CONFIG", "SET", "appendfsync", "always")
        await client.set(f"{settings.queue_name}:flushed", "")
        reply: dict[str, str] = await run_command(client, "CONFIG", "GET", "dir")
    return await asyncio.to_thread(_read_append_only_files, Path(reply["dir"]))


def _read_append_only_files(folder: Path) -> list[str]:
    files = folder.rglob("*aof*")
    return [file.read_text(errors="replace") for file in files if file.is_file()]


async def test_rotated_file_is_reopened_and_loses_no_line(audit_settings: Settings) -> None:
    assert audit_settings.audit_file is not None
    rotated = audit_settings.audit_file.with_suffix(".1")
    async with AuditLog.open(audit_settings) as audit:
        audit.write(AuditEntry(action="first"))
        audit_settings.audit_file.rename(rotated)
        audit.write(AuditEntry(action="second"))
        audit_settings.audit_file.unlink()
        audit.write(AuditEntry(action="third", detail='"\n\u2028é'))

    assert [line["action"] for line in read_entries(rotated)] == ["first"]
    [third] = read_entries(audit_settings.audit_file)
    assert (third["action"], third["detail"]) == ("third", '"\n\u2028é')


async def test_unwritable_file_prevents_startup(audit_settings: Settings, tmp_path: Path) -> None:
    settings = audit_settings.model_copy(update={"audit_file": tmp_path / "absent" / "audit"})
    with pytest.raises(AuditUnwritable, match="No such file"):
        async with AuditLog.open(settings):
            pass
    refused = await asyncio.to_thread(run_circumplex, settings, "gateway")
    assert refused.returncode == 1
    assert "audit_unwritable" in refused.stderr


async def test_later_write_failure_is_logged_and_requests_go_on(
    audit_settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    settings = audit_settings.model_copy(update={"audit_file": folder / "audit"})
    with caplog.at_level(logging.INFO):
        async with AuditLog.open(settings) as audit:
            (folder / "audit").unlink()
            folder.rmdir()
            audit.write(AuditEntry(action="delete_job"))
            audit.write(AuditEntry(action="delete_job"))
            folder.mkdir()
            audit.write(AuditEntry(action="retry_job"))

    [error, _] = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "cannot be written" in error.getMessage()
    assert sum(each.name == "circumplex.audit" for each in caplog.records) == 3
    assert [line["action"] for line in read_entries(folder / "audit")] == ["retry_job"]
