"""API keys as metadata: who may call what, how often, and what is written down."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from circumplex.v1 import jobs_pb2 as wire
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from service.access.audit import Audit
from service.access.gate import Gate
from service.access.keyring import KeyRing
from service.access.token import Token, new_token
from service.domain.caller import Limits, Scope
from service.errors import AccessUndecided
from service.jobs.record import new_job_id
from service.office.gateway import Gateway
from service.rpc.door import open_door
from service.rpc.exchange import address_of
from service.settings import Settings
from tests.integration.access.asking import token_for
from tests.integration.rpc.scripted import ScriptedStreams
from tests.integration.rpc.talking import (
    Client,
    config,
    frame,
    refusal,
    submission,
    talking,
    until,
)

UNKNOWN = new_job_id()
READING = [
    ("GetJob", wire.GetJobRequest(job_id=UNKNOWN)),
    ("ListJobs", wire.ListJobsRequest()),
    ("WatchJob", wire.WatchJobRequest(job_id=UNKNOWN)),
    ("GetResult", wire.GetResultRequest(job_id=UNKNOWN)),
]
WRITING = [
    ("SubmitJob", submission(b"")),
    ("CancelJob", wire.CancelJobRequest(job_id=UNKNOWN)),
    ("RetryJob", wire.RetryJobRequest(job_id=UNKNOWN)),
    ("DeleteJob", wire.DeleteJobRequest(job_id=UNKNOWN)),
    ("StreamingAnnotate", [frame(0)]),
]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"access": "keys"})


def bearing(token: Token) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token.text}"),)


async def code_of(client: Client, name: str, request: Any, token: Token | None) -> str:
    """What a call is answered that comes to nothing in any case."""
    service = client.annotation if name == "StreamingAnnotate" else client.jobs
    metadata = () if token is None else bearing(token)
    sent = iter(request) if isinstance(request, list) else request
    call = getattr(service, name)(sent, metadata=metadata)
    if await call.code() is grpc.StatusCode.OK:
        return "ok"
    return (await refusal(call)).code


async def test_every_method_opens_to_its_scope_alone(client: Client, keys: KeyRing) -> None:
    reader, writer, admin = [
        await token_for(keys, scope) for scope in (Scope.READ, Scope.SUBMIT, Scope.ADMIN)
    ]
    for name, request in READING + WRITING:
        may, may_not = (reader, writer) if (name, request) in READING else (writer, reader)
        codes = [
            await code_of(client, name, request, token)
            for token in (None, new_token(), may_not, may, admin)
        ]
        assert codes[:3] == ["unauthenticated", "unauthenticated", "scope_missing"], name
        assert not {*codes[3:]} & {"unauthenticated", "scope_missing"}, name


async def test_a_key_may_come_in_either_way_and_not_two_of_them(
    client: Client, keys: KeyRing
) -> None:
    first, second = await token_for(keys), await token_for(keys)
    request = wire.ListJobsRequest()
    own = (("x-api-key", first.text),)
    await client.jobs.ListJobs(request, metadata=own)
    await client.jobs.ListJobs(request, metadata=own + bearing(first))
    told = await refusal(client.jobs.ListJobs(request, metadata=own + bearing(second)))
    assert (told.status, told.code) == ("UNAUTHENTICATED", "unauthenticated")


async def test_a_job_of_another_key_is_like_none(client: Client, keys: KeyRing) -> None:
    owner, other = await token_for(keys), await token_for(keys)
    admin = await token_for(keys, Scope.ADMIN)
    answer = await client.jobs.SubmitJob(submission(), metadata=bearing(owner))
    job_id = answer.job.id
    get = wire.GetJobRequest(job_id=job_id)
    told = [
        await refusal(client.jobs.GetJob(get, metadata=bearing(other))),
        await refusal(
            client.jobs.GetJob(wire.GetJobRequest(job_id=UNKNOWN), metadata=bearing(other))
        ),
    ]
    seen = (await client.jobs.GetJob(get, metadata=bearing(admin))).job
    told_owner = (await client.jobs.GetJob(get, metadata=bearing(owner))).job
    page = await client.jobs.ListJobs(wire.ListJobsRequest(), metadata=bearing(other))
    asked = wire.ListJobsRequest(owner=owner.key_id)
    refused = await refusal(client.jobs.ListJobs(asked, metadata=bearing(other)))
    listed = await client.jobs.ListJobs(asked, metadata=bearing(admin))

    assert {each.status for each in told} == {"NOT_FOUND"}
    assert told[0].detail.replace(job_id, UNKNOWN) == told[1].detail
    assert (seen.owner, told_owner.owner) == (owner.key_id, "")
    assert list(page.jobs) == []
    assert refused.code == "scope_missing"
    assert [job.id for job in listed.jobs] == [job_id]


async def test_a_key_that_asks_too_often_hears_when_to_come_back(
    client: Client, keys: KeyRing
) -> None:
    token = await token_for(keys, limits=Limits(requests_per_minute=1))
    await client.jobs.ListJobs(wire.ListJobsRequest(), metadata=bearing(token))
    told = await refusal(client.jobs.ListJobs(wire.ListJobsRequest(), metadata=bearing(token)))
    assert (told.status, told.code) == ("RESOURCE_EXHAUSTED", "rate_exceeded")
    assert told.retry_seconds is not None
    assert 30 < told.retry_seconds <= 60


async def test_a_key_has_limits_of_its_own(client: Client, keys: KeyRing) -> None:
    token = await token_for(keys, limits=Limits(open_jobs=1, upload_bytes=1000))
    large = await refusal(client.jobs.SubmitJob(submission(), metadata=bearing(token)))
    await client.jobs.SubmitJob(submission(b"clip"), metadata=bearing(token))
    second = await refusal(client.jobs.SubmitJob(submission(b"clip"), metadata=bearing(token)))
    assert (large.code, second.code) == ("clip_too_large", "quota_exceeded")


async def test_a_stream_ends_when_its_key_is_revoked(
    client: Client, keys: KeyRing, streams: ScriptedStreams
) -> None:
    """One in which nothing happens, too."""
    token = await token_for(keys)
    call = client.annotation.StreamingAnnotate(metadata=bearing(token))
    await call.write(config())
    await call.read()
    await keys.revoke(token.key_id)
    told = await refusal(call)
    assert (told.status, told.code) == ("UNAUTHENTICATED", "unauthenticated")
    assert (streams.open, streams.ends) == (0, {"left": 1})


async def test_health_asks_for_no_key(client: Client) -> None:
    call = client.health.Watch(HealthCheckRequest())
    await until(call, HealthCheckResponse.SERVING)
    call.cancel()
    answer = await client.health.Check(HealthCheckRequest())
    assert answer.status == HealthCheckResponse.SERVING


async def test_every_deed_is_written_down(
    gateway: Gateway, settings: Settings, keys: KeyRing, tmp_path: Path
) -> None:
    file = tmp_path / "audit.jsonl"
    token, narrow = await token_for(keys), await token_for(keys, Scope.READ)
    audited = settings.model_copy(update={"audit_file": file})
    async with Audit.open(audited) as audit:
        heard = dataclasses.replace(gateway, audit=audit)
        async with open_door(heard, 0) as port, talking(f"127.0.0.1:{port}") as client:
            metadata = (*bearing(token), ("traceparent", f"00-{'ab' * 16}-{'cd' * 8}-01"))
            answer = await client.jobs.SubmitJob(submission(), metadata=metadata)
            job_id = answer.job.id
            request = wire.GetJobRequest(job_id=job_id)
            await client.jobs.GetJob(request, metadata=metadata)
            result = wire.GetResultRequest(job_id=job_id)
            await refusal(client.jobs.GetResult(result, metadata=metadata))
            await refusal(client.jobs.GetJob(request))
            cancel = wire.CancelJobRequest(job_id=job_id)
            await refusal(client.jobs.CancelJob(cancel, metadata=bearing(narrow)))
            stream = client.annotation.StreamingAnnotate(metadata=metadata)
            await stream.write(config())
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
        ("unix:/tmp/door", None),
    ],
)
def test_the_address_of_a_peer(peer: str, address: str | None) -> None:
    assert address_of(peer) == address


async def test_a_gateway_that_others_can_reach_asks_who_may_come_in(settings: Settings) -> None:
    undecided = settings.model_copy(update={"access": "auto", "host": "0.0.0.0"})
    with pytest.raises(AccessUndecided):
        async with Gate.open(undecided):
            pass
