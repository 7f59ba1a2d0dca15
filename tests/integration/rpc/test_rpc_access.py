"""API keys over gRPC: scopes, ownership, rates, revocation and the audit log."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from circumplex.v1 import jobs_pb2 as wire
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from service.auth.api_key import Token, new_token
from service.auth.audit_log import AuditLog
from service.auth.authenticator import Authenticator
from service.auth.key_store import ApiKeyStore
from service.domain.caller import CallerQuotas, Scope
from service.errors import AccessModeUnset
from service.gateway.context import GatewayContext
from service.gateway.rpc.call_limits import parse_peer_address
from service.jobs.record import new_job_id
from service.settings import Settings
from tests.integration.auth.key_requests import create_token
from tests.integration.rpc.grpc_client import (
    GrpcClient,
    expect_error,
    make_config_request,
    make_frame_request,
    make_submit_requests,
    open_grpc_client,
    wait_for_health,
)
from tests.integration.rpc.scripted_streams import ScriptedStreams
from tests.integration.servers import serving_grpc

UNKNOWN_JOB_ID = new_job_id()
READ_CALLS = [
    ("GetJob", wire.GetJobRequest(job_id=UNKNOWN_JOB_ID)),
    ("ListJobs", wire.ListJobsRequest()),
    ("WatchJob", wire.WatchJobRequest(job_id=UNKNOWN_JOB_ID)),
    ("GetResult", wire.GetResultRequest(job_id=UNKNOWN_JOB_ID)),
]
SUBMIT_CALLS = [
    ("SubmitJob", make_submit_requests(b"")),
    ("CancelJob", wire.CancelJobRequest(job_id=UNKNOWN_JOB_ID)),
    ("RetryJob", wire.RetryJobRequest(job_id=UNKNOWN_JOB_ID)),
    ("DeleteJob", wire.DeleteJobRequest(job_id=UNKNOWN_JOB_ID)),
    ("StreamingAnnotate", [make_frame_request(0)]),
]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"access": "keys"})


def bearer_metadata(token: Token) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token.text}"),)


async def call_error_code(client: GrpcClient, name: str, request: Any, token: Token | None) -> str:
    """Error code of a call; `ok` if it succeeds."""
    service = client.annotation if name == "StreamingAnnotate" else client.jobs
    metadata = () if token is None else bearer_metadata(token)
    sent = iter(request) if name == "StreamingAnnotate" else request
    call = getattr(service, name)(sent, metadata=metadata)
    if await call.code() is grpc.StatusCode.OK:
        return "ok"
    return (await expect_error(call)).code


async def test_every_method_requires_its_scope(client: GrpcClient, key_store: ApiKeyStore) -> None:
    reader, writer, admin = [
        await create_token(key_store, scope) for scope in (Scope.READ, Scope.SUBMIT, Scope.ADMIN)
    ]
    for name, request in READ_CALLS + SUBMIT_CALLS:
        allowed, refused = (reader, writer) if (name, request) in READ_CALLS else (writer, reader)
        codes = [
            await call_error_code(client, name, request, token)
            for token in (None, new_token(), refused, allowed, admin)
        ]
        assert codes[:3] == ["unauthenticated", "unauthenticated", "scope_missing"], name
        assert not {*codes[3:]} & {"unauthenticated", "scope_missing"}, name


async def test_a_key_is_accepted_in_either_header_but_not_two_keys(
    client: GrpcClient, key_store: ApiKeyStore
) -> None:
    first, second = await create_token(key_store), await create_token(key_store)
    request = wire.ListJobsRequest()
    own = (("x-api-key", first.text),)
    await client.jobs.ListJobs(request, metadata=own)
    await client.jobs.ListJobs(request, metadata=own + bearer_metadata(first))
    error = await expect_error(
        client.jobs.ListJobs(request, metadata=own + bearer_metadata(second))
    )
    assert (error.status, error.code) == ("UNAUTHENTICATED", "unauthenticated")


async def test_another_keys_job_is_not_found(client: GrpcClient, key_store: ApiKeyStore) -> None:
    owner, other = await create_token(key_store), await create_token(key_store)
    admin = await create_token(key_store, Scope.ADMIN)
    response = await client.jobs.SubmitJob(make_submit_requests(), metadata=bearer_metadata(owner))
    job_id = response.job.id
    get = wire.GetJobRequest(job_id=job_id)
    errors = [
        await expect_error(client.jobs.GetJob(get, metadata=bearer_metadata(other))),
        await expect_error(
            client.jobs.GetJob(
                wire.GetJobRequest(job_id=UNKNOWN_JOB_ID), metadata=bearer_metadata(other)
            )
        ),
    ]
    admins_job = (await client.jobs.GetJob(get, metadata=bearer_metadata(admin))).job
    owners_job = (await client.jobs.GetJob(get, metadata=bearer_metadata(owner))).job
    page = await client.jobs.ListJobs(wire.ListJobsRequest(), metadata=bearer_metadata(other))
    request = wire.ListJobsRequest(owner=owner.key_id)
    refused = await expect_error(client.jobs.ListJobs(request, metadata=bearer_metadata(other)))
    listed = await client.jobs.ListJobs(request, metadata=bearer_metadata(admin))

    assert {each.status for each in errors} == {"NOT_FOUND"}
    assert errors[0].detail.replace(job_id, UNKNOWN_JOB_ID) == errors[1].detail
    assert (admins_job.owner, owners_job.owner) == (owner.key_id, "")
    assert list(page.jobs) == []
    assert refused.code == "scope_missing"
    assert [job.id for job in listed.jobs] == [job_id]


async def test_a_rate_limited_key_gets_a_retry_delay(
    client: GrpcClient, key_store: ApiKeyStore
) -> None:
    token = await create_token(key_store, limits=CallerQuotas(requests_per_minute=1))
    await client.jobs.ListJobs(wire.ListJobsRequest(), metadata=bearer_metadata(token))
    error = await expect_error(
        client.jobs.ListJobs(wire.ListJobsRequest(), metadata=bearer_metadata(token))
    )
    assert (error.status, error.code) == ("RESOURCE_EXHAUSTED", "rate_exceeded")
    assert error.retry_seconds is not None
    assert 30 < error.retry_seconds <= 60


async def test_a_key_has_limits_of_its_own(client: GrpcClient, key_store: ApiKeyStore) -> None:
    token = await create_token(key_store, limits=CallerQuotas(open_jobs=1, upload_bytes=1000))
    large = await expect_error(
        client.jobs.SubmitJob(make_submit_requests(), metadata=bearer_metadata(token))
    )
    await client.jobs.SubmitJob(make_submit_requests(b"clip"), metadata=bearer_metadata(token))
    second = await expect_error(
        client.jobs.SubmitJob(make_submit_requests(b"clip"), metadata=bearer_metadata(token))
    )
    assert (large.code, second.code) == ("clip_too_large", "quota_exceeded")


async def test_a_stream_ends_when_its_key_is_revoked(
    client: GrpcClient, key_store: ApiKeyStore, streams: ScriptedStreams
) -> None:
    """An idle stream ends as well."""
    token = await create_token(key_store)
    call = client.annotation.StreamingAnnotate(metadata=bearer_metadata(token))
    await call.write(make_config_request())
    await call.read()
    await key_store.revoke(token.key_id)
    error = await expect_error(call)
    assert (error.status, error.code) == ("UNAUTHENTICATED", "unauthenticated")
    assert (streams.open_count, streams.outcomes) == (0, {"cancelled": 1})


async def test_health_requires_no_key(client: GrpcClient) -> None:
    call = client.health.Watch(HealthCheckRequest())
    await wait_for_health(call, HealthCheckResponse.SERVING)
    call.cancel()
    response = await client.health.Check(HealthCheckRequest())
    assert response.status == HealthCheckResponse.SERVING


async def test_every_action_is_audited(
    gateway: GatewayContext, settings: Settings, key_store: ApiKeyStore, tmp_path: Path
) -> None:
    file = tmp_path / "audit.jsonl"
    token, narrow = await create_token(key_store), await create_token(key_store, Scope.READ)
    audited = settings.model_copy(update={"audit_file": file})
    async with AuditLog.open(audited) as audit:
        audited_gateway = dataclasses.replace(gateway, audit_log=audit)
        async with (
            serving_grpc(audited_gateway, 0) as port,
            open_grpc_client(f"127.0.0.1:{port}") as client,
        ):
            metadata = (*bearer_metadata(token), ("traceparent", f"00-{'ab' * 16}-{'cd' * 8}-01"))
            response = await client.jobs.SubmitJob(make_submit_requests(), metadata=metadata)
            job_id = response.job.id
            request = wire.GetJobRequest(job_id=job_id)
            await client.jobs.GetJob(request, metadata=metadata)
            result = wire.GetResultRequest(job_id=job_id)
            await expect_error(client.jobs.GetResult(result, metadata=metadata))
            await expect_error(client.jobs.GetJob(request))
            cancel = wire.CancelJobRequest(job_id=job_id)
            await expect_error(client.jobs.CancelJob(cancel, metadata=bearer_metadata(narrow)))
            stream = client.annotation.StreamingAnnotate(metadata=metadata)
            await stream.write(make_config_request())
            await stream.read()
            await stream.done_writing()
            assert (await stream.read()).HasField("summary")
            assert await stream.code() is grpc.StatusCode.OK
            await client.jobs.DeleteJob(wire.DeleteJobRequest(job_id=job_id), metadata=metadata)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    names = ("action", "outcome", "key_id", "job_id")
    assert [tuple(line[name] for name in names) for line in lines] == [
        ("submit_job", "ok", token.key_id, job_id),
        ("get_result", "result_not_ready", token.key_id, job_id),
        ("get_job", "unauthenticated", None, None),
        ("cancel_job", "scope_missing", narrow.key_id, None),
        ("streaming_annotate", "ok", token.key_id, None),
        ("delete_job", "ok", token.key_id, job_id),
    ]
    assert lines[0]["trace_id"] == "ab" * 16
    assert {line["client"] for line in lines} == {"127.0.0.1"}
    assert token.text.split("_")[2] not in file.read_text()


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.1.2.3:4567", "10.1.2.3"),
        ("ipv6:%5B::1%5D:4567", "::1"),
        ("ipv6:[fe80::1]:1", "fe80::1"),
        ("unix:/tmp/socket", None),
    ],
)
def test_peer_address_is_parsed(peer: str, address: str | None) -> None:
    assert parse_peer_address(peer) == address


async def test_a_public_gateway_requires_access_control(settings: Settings) -> None:
    unset = settings.model_copy(update={"access": "auto", "host": "0.0.0.0"})
    with pytest.raises(AccessModeUnset):
        async with Authenticator.open(unset):
            pass
