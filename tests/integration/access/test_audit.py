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

from service.access.audit import Audit, Deed
from service.access.keyring import KeyRing
from service.access.token import new_token
from service.domain.caller import Limits, Scope
from service.errors import AuditUnwritable
from service.settings import Settings
from tests.integration.access.asking import token_for
from tests.integration.access.commands import circumplex, started
from tests.integration.pretence import analysis_of
from tests.integration.rooms import Rooms
from tests.integration.servers import free_port


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture
def audited(settings: Settings, tmp_path: Path) -> Settings:
    update = {
        "audit_file": tmp_path / "audit.jsonl",
        "http_port": free_port(),
        "log_level": "debug",
    }
    return settings.model_copy(update=update)


async def test_every_deed_is_written_down_and_no_secret_anywhere(
    audited: Settings, rooms: Rooms, keys: KeyRing, tmp_path: Path
) -> None:
    log = tmp_path / "gateway.log"
    made = await asyncio.to_thread(circumplex, audited, "keys", "create", "lab")
    full = made.stdout.strip()
    narrow = (await token_for(keys, Scope.READ, limits=Limits(requests_per_minute=1))).text
    stranger = new_token().text
    trace = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    with started(audited, log) as url:
        async with httpx.AsyncClient(base_url=url, headers=trace) as client:
            submit = await client.post("/v1/jobs", files={"clip": b"a"}, headers=held(full))
            job_id = submit.json()["id"]
            async with rooms.worker(analysis_of(3)):
                await rooms.finished(job_id)
            path = f"/v1/jobs/{job_id}"
            statuses = [
                (await client.get(path, headers=held(full))).status_code,
                (await client.get(f"{path}/result", headers=held(full))).status_code,
                (await client.get(path, headers=held(stranger))).status_code,
                (await client.post("/v1/jobs", headers=held(narrow))).status_code,
                (await client.get(path, headers=held(narrow))).status_code,
                (await client.post("/v1/jobs", data={"a": "b"}, headers=held(full))).status_code,
                (await client.get("/health/live", headers=held(full))).status_code,
                (await client.get("/v1/jobs", headers=held(full))).status_code,
                (await client.post(f"{path}:cancel", headers=held(full))).status_code,
                (await client.post(f"{path}:retry", headers=held(full))).status_code,
                (await client.delete(path, headers=held(full))).status_code,
            ]
    revoked = await asyncio.to_thread(circumplex, audited, "keys", "revoke", full.split("_")[1])

    assert statuses == [200, 200, 401, 403, 429, 415, 200, 200, 409, 409, 204]
    assert audited.audit_file is not None
    written = lines_of(audited.audit_file)
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
    assert audited.audit_file.stat().st_mode & 0o777 == 0o600

    logged = log.read_text()
    assert logged.count(" circumplex.audit ") == len(served)
    seen = [logged, audited.audit_file.read_text(), made.stderr, revoked.stderr]
    seen += remembered(audited)
    for secret in (token.split("_")[2] for token in (full, narrow, stranger)):
        assert not any(secret in text for text in seen)
    assert any(first in text for text in remembered(audited))


def held(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def remembered(settings: Settings) -> Iterator[str]:
    """Everything that Redis has ever been told: its append-only files."""
    with redis.Redis.from_url(settings.redis_url, decode_responses=True) as client:
        client.config_set("appendfsync", "always")
        client.set(f"{settings.queue_name}:flushed", "")
        folder = Path(client.config_get("dir")["dir"])
    for file in folder.rglob("*aof*"):
        if file.is_file():
            yield file.read_text(errors="replace")


async def test_a_rotated_file_is_begun_anew_and_loses_no_line(audited: Settings) -> None:
    assert audited.audit_file is not None
    rotated = audited.audit_file.with_suffix(".1")
    async with Audit.open(audited) as audit:
        audit.write(Deed(action="first"))
        audited.audit_file.rename(rotated)
        audit.write(Deed(action="second"))
        audited.audit_file.unlink()
        audit.write(Deed(action="third", detail='"\n\u2028é'))

    assert [line["action"] for line in lines_of(rotated)] == ["first"]
    [third] = lines_of(audited.audit_file)
    assert (third["action"], third["detail"]) == ("third", '"\n\u2028é')


async def test_a_file_that_cannot_be_opened_keeps_the_gateway_from_starting(
    audited: Settings, tmp_path: Path
) -> None:
    settings = audited.model_copy(update={"audit_file": tmp_path / "nowhere" / "audit"})
    with pytest.raises(AuditUnwritable, match="No such file"):
        async with Audit.open(settings):
            pass
    refused = await asyncio.to_thread(circumplex, settings, "gateway")
    assert refused.returncode == 1
    assert "audit_unwritable" in refused.stderr


async def test_a_file_that_fails_later_is_an_error_in_the_log_and_stops_nobody(
    audited: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    settings = audited.model_copy(update={"audit_file": folder / "audit"})
    with caplog.at_level(logging.INFO):
        async with Audit.open(settings) as audit:
            (folder / "audit").unlink()
            folder.rmdir()
            audit.write(Deed(action="delete_job"))
            audit.write(Deed(action="delete_job"))
            folder.mkdir()
            audit.write(Deed(action="retry_job"))

    [error, _] = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "cannot be written" in error.getMessage()
    assert sum(each.name == "circumplex.audit" for each in caplog.records) == 3
    assert [line["action"] for line in lines_of(folder / "audit")] == ["retry_job"]
