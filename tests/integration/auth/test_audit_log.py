"""Who did what is written down, and no secret anywhere."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from service.auth.audit_log import AuditEntry, AuditLog
from service.auth.key_store import ApiKeyStore
from service.auth.token import new_token
from service.domain.caller import CallerQuotas, Scope
from service.errors import AuditUnwritable
from service.settings import Settings
from tests.integration.auth.cli_processes import run_circumplex, running_gateway
from tests.integration.auth.key_requests import create_token
from tests.integration.fakes import make_fake_analysis
from tests.integration.job_environment import JobEnvironment
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


async def test_every_action_is_audited_without_secrets(
    audit_settings: Settings, env: JobEnvironment, key_store: ApiKeyStore, tmp_path: Path
) -> None:
    log = tmp_path / "gateway.log"
    made = await asyncio.to_thread(run_circumplex, audit_settings, "keys", "create", "lab")
    full = made.stdout.strip()
    narrow = (
        await create_token(key_store, Scope.READ, limits=CallerQuotas(requests_per_minute=1))
    ).text
    stranger = new_token().text
    trace = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    with running_gateway(audit_settings, log) as url:
        async with httpx.AsyncClient(base_url=url, headers=trace) as client:
            submit = await client.post(
                "/v1/jobs", files={"clip": b"a"}, headers=bearer_headers(full)
            )
            job_id = submit.json()["id"]
            async with env.running_worker(make_fake_analysis(3)):
                await env.wait_for_end(job_id)
            path = f"/v1/jobs/{job_id}"
            statuses = [
                (await client.get(path, headers=bearer_headers(full))).status_code,
                (await client.get(f"{path}/result", headers=bearer_headers(full))).status_code,
                (await client.get(path, headers=bearer_headers(stranger))).status_code,
                (await client.post("/v1/jobs", headers=bearer_headers(narrow))).status_code,
                (await client.get(path, headers=bearer_headers(narrow))).status_code,
                (
                    await client.post("/v1/jobs", data={"a": "b"}, headers=bearer_headers(full))
                ).status_code,
                (await client.get("/health/live", headers=bearer_headers(full))).status_code,
                (await client.get("/v1/jobs", headers=bearer_headers(full))).status_code,
                (await client.post(f"{path}:cancel", headers=bearer_headers(full))).status_code,
                (await client.post(f"{path}:retry", headers=bearer_headers(full))).status_code,
                (await client.delete(path, headers=bearer_headers(full))).status_code,
            ]
    revoked = await asyncio.to_thread(
        run_circumplex, audit_settings, "keys", "revoke", full.split("_")[1]
    )

    assert statuses == [200, 200, 401, 403, 429, 415, 200, 200, 409, 409, 204]
    assert audit_settings.audit_file is not None
    written = read_entries(audit_settings.audit_file)
    first, second = (token.split("_")[1] for token in (full, narrow))
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
    ] == [tuple(map(line.get, ("action", "outcome", "key_id", "job_id"))) for line in written]
    served = written[1:10]
    assert {line["client"] for line in served} == {"127.0.0.1"}
    assert {line["trace_id"] for line in served} == {"ab" * 16}
    assert [line["status"] for line in served] == [202, 200, 401, 403, 429, 415, 409, 409, 204]
    assert audit_settings.audit_file.stat().st_mode & 0o777 == 0o600

    logged = log.read_text()
    assert logged.count(" circumplex.audit ") == len(served)
    seen = [logged, audit_settings.audit_file.read_text(), made.stderr, revoked.stderr]
    seen += read_redis_append_log(audit_settings)
    for secret in (token.split("_")[2] for token in (full, narrow, stranger)):
        assert not any(secret in text for text in seen)
    assert any(first in text for text in read_redis_append_log(audit_settings))


def bearer_headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def read_redis_append_log(settings: Settings) -> Iterator[str]:
    """Everything that Redis has ever been told: its append-only files."""
    with redis.Redis.from_url(settings.redis_url, decode_responses=True) as client:
        client.config_set("appendfsync", "always")
        client.set(f"{settings.queue_name}:flushed", "")
        folder = Path(client.config_get("dir")["dir"])
    for file in folder.rglob("*aof*"):
        if file.is_file():
            yield file.read_text(errors="replace")


async def test_a_rotated_file_is_reopened_and_loses_no_line(audit_settings: Settings) -> None:
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


async def test_an_unwritable_file_prevents_startup(
    audit_settings: Settings, tmp_path: Path
) -> None:
    settings = audit_settings.model_copy(update={"audit_file": tmp_path / "nowhere" / "audit"})
    with pytest.raises(AuditUnwritable, match="No such file"):
        async with AuditLog.open(settings):
            pass
    refused = await asyncio.to_thread(run_circumplex, settings, "gateway")
    assert refused.returncode == 1
    assert "audit_unwritable" in refused.stderr


async def test_a_later_write_failure_is_logged_and_requests_go_on(
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
