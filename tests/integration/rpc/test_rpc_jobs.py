"""JobService: submission, results, watching, lists, idempotency and refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import httpx
import pytest
from circumplex.v1 import jobs_pb2 as wire

from service.errors import ClipTruncated
from service.gateway.context import GatewayContext
from service.gateway.rest.app import create_app
from tests.integration.fakes import make_failing_analysis, make_fake_analysis
from tests.integration.job_client import post_clip
from tests.integration.job_environment import JobEnvironment, eventually
from tests.integration.rpc.grpc_client import (
    CLIP,
    GrpcClient,
    expect_error,
    make_submit_requests,
    read_responses,
    submit_job,
)
from tests.integration.servers import serving


@pytest.fixture
async def rest_client(gateway: GatewayContext) -> AsyncGenerator[httpx.AsyncClient]:
    async with (
        serving(create_app(gateway)) as address,
        httpx.AsyncClient(base_url=address, timeout=30.0) as client,
    ):
        yield client


async def test_a_clip_goes_from_submission_to_result_and_rest_shows_the_same(
    client: GrpcClient, rest_client: httpx.AsyncClient, env: JobEnvironment
) -> None:
    options: dict[str, Any] = {
        "filename": "/home/me/a walk.mp4",
        "media_type": "video/mp4",
        "faces": "all",
        "priority": "interactive",
        "video_stream": 1,
    }
    submitted = await client.jobs.SubmitJob(make_submit_requests(**options))
    job_id = submitted.job.id
    stored = b"".join([chunk async for chunk in await env.store.get(f"clips/{job_id}")])
    early = await expect_error(client.jobs.GetResult(wire.GetResultRequest(job_id=job_id)))
    async with env.running_worker(make_fake_analysis(40)):
        record = await env.wait_for_end(job_id)
    job = (await client.jobs.GetJob(wire.GetJobRequest(job_id=job_id))).job
    rest_job = (await rest_client.get(f"/v1/jobs/{job_id}")).json()

    assert (stored, submitted.is_replayed, submitted.job.state) == (CLIP, False, "queued")
    assert (early.status, early.code) == ("FAILED_PRECONDITION", "result_not_ready")
    assert early.retry_seconds is not None
    assert (job.state, job.filename, job.media_type) == ("succeeded", "a walk.mp4", "video/mp4")
    assert (job.faces, job.priority, job.clip_bytes) == ("all", "interactive", len(CLIP))
    assert (job.video_stream, job.HasField("audio_stream")) == (1, False)
    assert (job.progress.frames_done, job.progress.frames_total, job.progress.fraction) == (
        *(rest_job["progress"]["frames_done"], rest_job["progress"]["frames_total"]),
        1.0,
    )
    assert job.finished_at.ToMicroseconds() == round(1e6 * (record.finished_at or 0))
    assert rest_job["finished_at"][:23] == job.finished_at.ToJsonString()[:23]
    assert (job.attempt, job.HasField("error"), job.HasField("retry_at")) == (1, False, False)
    for name in ("json", "csv"):
        request = wire.GetResultRequest(job_id=job_id, format=name)
        pieces = [piece.data async for piece in client.jobs.GetResult(request)]
        whole = await rest_client.get(f"/v1/jobs/{job_id}/result?format={name}")
        assert b"".join(pieces) == whole.content
    default = [
        piece.data async for piece in client.jobs.GetResult(wire.GetResultRequest(job_id=job_id))
    ]
    assert b"".join(default).startswith(b"{")


async def test_watching_a_job_yields_its_state_and_every_change_to_its_end(
    client: GrpcClient, env: JobEnvironment
) -> None:
    job_id = await submit_job(client)
    call = client.jobs.WatchJob(wire.WatchJobRequest(job_id=job_id))
    first = (await call.read()).job
    async with env.running_worker(make_fake_analysis(5, 0.2)):
        later = [response.job async for response in read_responses(call)]
    again = [each.job async for each in client.jobs.WatchJob(wire.WatchJobRequest(job_id=job_id))]

    assert first.state == "queued"
    assert "running" in {job.state for job in later}
    assert [job.state for job in later].count("succeeded") == 1
    assert later[-1].state == "succeeded"
    assert again == [later[-1]]


async def test_watching_a_job_ends_with_it_when_it_is_deleted(client: GrpcClient) -> None:
    job_id = await submit_job(client)
    call = client.jobs.WatchJob(wire.WatchJobRequest(job_id=job_id))
    await call.read()
    await client.jobs.DeleteJob(wire.DeleteJobRequest(job_id=job_id))
    error = await expect_error(call)
    unknown = await expect_error(client.jobs.GetJob(wire.GetJobRequest(job_id=job_id)))
    assert (
        (error.status, error.code) == (unknown.status, unknown.code) == ("NOT_FOUND", "job_unknown")
    )


async def test_jobs_are_cancelled_and_retried(client: GrpcClient, env: JobEnvironment) -> None:
    job_id = await submit_job(client)
    cancelled = await client.jobs.CancelJob(wire.CancelJobRequest(job_id=job_id))
    again = await client.jobs.RetryJob(wire.RetryJobRequest(job_id=job_id))
    async with env.running_worker(make_failing_analysis(ClipTruncated("it ends too soon"))):
        await env.wait_for_end(job_id)
    late = await expect_error(client.jobs.CancelJob(wire.CancelJobRequest(job_id=job_id)))
    failed = (await client.jobs.GetJob(wire.GetJobRequest(job_id=job_id))).job
    result = await expect_error(client.jobs.GetResult(wire.GetResultRequest(job_id=job_id)))

    assert (cancelled.job.state, again.job.state) == ("cancelled", "queued")
    assert (late.status, late.code) == ("FAILED_PRECONDITION", "job_finished")
    assert (failed.error.code, failed.error.detail) == ("clip_truncated", "it ends too soon")
    assert not failed.error.retryable
    assert (result.status, result.code) == ("INVALID_ARGUMENT", "clip_truncated")
    assert result.detail == "it ends too soon"


async def test_lists_have_pages_and_states(
    client: GrpcClient, rest_client: httpx.AsyncClient
) -> None:
    ids = [await submit_job(client) for _ in range(5)]
    await client.jobs.CancelJob(wire.CancelJobRequest(job_id=ids[1]))
    ids_of_pages: list[str] = []
    token = ""
    while True:
        page = await client.jobs.ListJobs(wire.ListJobsRequest(page_size=2, page_token=token))
        assert len(page.jobs) <= 2
        ids_of_pages += [job.id for job in page.jobs]
        if not (token := page.next_page_token):
            break
    listed = (await rest_client.get("/v1/jobs")).json()
    only = await client.jobs.ListJobs(wire.ListJobsRequest(state="cancelled"))
    none = await client.jobs.ListJobs(wire.ListJobsRequest(state="queued", code="clip_truncated"))

    assert ids_of_pages == ids[::-1] == [job["id"] for job in listed["jobs"]]
    assert [job.id for job in only.jobs] == [ids[1]]
    assert list(none.jobs) == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"page_size": 201}, "page_size"),
        ({"page_token": "next"}, "page_token"),
        ({"state": "done"}, "state"),
        ({"code": "No!"}, "code"),
        ({"owner": "a b"}, "owner"),
    ],
)
async def test_a_list_names_the_invalid_field(
    client: GrpcClient, fields: dict[str, Any], field: str
) -> None:
    error = await expect_error(client.jobs.ListJobs(wire.ListJobsRequest(**fields)))
    assert (error.status, error.code, error.fields) == (
        "INVALID_ARGUMENT",
        "request_invalid",
        [field],
    )
    assert error.retry_seconds is None


async def test_an_idempotency_key_is_shared_by_rest_and_grpc(
    client: GrpcClient, rest_client: httpx.AsyncClient, env: JobEnvironment
) -> None:
    first = await client.jobs.SubmitJob(make_submit_requests(idempotency_key="k", faces="all"))
    second = await client.jobs.SubmitJob(
        make_submit_requests(chunk_count=3, idempotency_key="k", faces="all")
    )
    third = await post_clip(rest_client, CLIP, "?faces=all", headers={"Idempotency-Key": "k"})
    other = await expect_error(
        client.jobs.SubmitJob(make_submit_requests(CLIP[1:], idempotency_key="k"))
    )

    assert (first.is_replayed, second.is_replayed) == (False, True)
    assert third.headers["idempotency-replayed"] == "true"
    assert first.job.id == second.job.id == third.json()["id"]
    assert (other.status, other.code) == ("INVALID_ARGUMENT", "idempotency_key_reused")
    assert len(env.list_stored_files("clips")) == 1


@pytest.mark.parametrize(
    ("requests", "status", "code"),
    [
        (list(make_submit_requests(b"")), "INVALID_ARGUMENT", "clip_empty"),
        (list(make_submit_requests(bytes(2**20 + 1))), "RESOURCE_EXHAUSTED", "clip_too_large"),
        (
            list(make_submit_requests(media_type="text/html")),
            "INVALID_ARGUMENT",
            "media_type_unsupported",
        ),
        (list(make_submit_requests())[1:], "INVALID_ARGUMENT", "stream_out_of_order"),
        (
            [*make_submit_requests(), *make_submit_requests()],
            "INVALID_ARGUMENT",
            "stream_out_of_order",
        ),
        ([], "INVALID_ARGUMENT", "stream_out_of_order"),
    ],
)
async def test_a_refused_submission_stores_no_clip_and_no_job(
    client: GrpcClient, env: JobEnvironment, requests: list[object], status: str, code: str
) -> None:
    error = await expect_error(client.jobs.SubmitJob(requests))
    assert (error.status, error.code, error.fields) == (status, code, [])
    assert env.list_stored_files("clips") == []
    assert (await env.queue.measure_backlog()).depth == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("faces", "some"),
        ("priority", "now"),
        ("audio_stream", 1000),
        ("idempotency_key", "é"),
        ("idempotency_key", "k" * 256),
    ],
)
async def test_a_submission_names_the_invalid_option(
    client: GrpcClient, name: str, value: Any
) -> None:
    error = await expect_error(client.jobs.SubmitJob(make_submit_requests(**{name: value})))
    assert (error.status, error.code) == ("INVALID_ARGUMENT", "request_invalid")
    assert error.fields == [f"options.{name}"]


async def test_an_interrupted_upload_creates_no_job(
    client: GrpcClient, env: JobEnvironment
) -> None:
    requests = list(make_submit_requests(bytes(900_000)))
    call = client.jobs.SubmitJob()
    for request in requests[:-1]:
        await call.write(request)

    async def stored() -> bool | None:
        return bool(env.list_stored_files("clips")) or None

    await eventually(stored)
    call.cancel()

    async def deleted() -> bool | None:
        return not env.list_stored_files("clips") or None

    await eventually(deleted)
    assert (await env.queue.measure_backlog()).depth == 0


async def test_a_stalled_upload_is_ended(
    gateway: GatewayContext, client: GrpcClient, env: JobEnvironment
) -> None:
    call = client.jobs.SubmitJob()
    await call.write(next(iter(make_submit_requests())))
    error = await expect_error(call)
    assert (error.status, error.code) == ("CANCELLED", "upload_interrupted")
    assert error.retry_seconds is not None
    assert env.list_stored_files("clips") == []


async def test_many_calls_share_one_connection(client: GrpcClient) -> None:
    async with asyncio.timeout(30.0):
        ids = await asyncio.gather(*(submit_job(client) for _ in range(20)))
    with pytest.raises(grpc.aio.AioRpcError, match="no job id"):
        await client.jobs.GetJob(wire.GetJobRequest(job_id="../etc"))
    assert len(set(ids)) == 20
