"""Problem details of refused requests, failed jobs and outages."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from service.errors import (
    ClipNotMedia,
    InferenceFailed,
    RequestError,
)
from service.gateway.context import GatewayContext
from service.gateway.rest.app import create_app
from service.jobs.queue.job_queue import JobQueue
from tests.fake_estimators import FakeInferenceServer
from tests.integration.auth.key_requests import UNKNOWN_JOB_URL
from tests.integration.fakes import make_failing_analysis
from tests.integration.job_environment import JobEnvironment
from tests.integration.servers import RedisServer, running_redis, serving

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
FORM_CONTENT_TYPE = "multipart/form-data; boundary=xx"


def assert_is_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert (status, code) == (answer.status_code, problem["code"])
    assert status == problem["status"]
    assert f"urn:circumplex:problem:{code}" == problem["type"]
    assert answer.request.url.path == problem["instance"]
    assert problem["trace_id"] == answer.headers["x-trace-id"]
    assert problem["title"]
    assert problem["detail"]
    return problem


REFUSED_REQUESTS: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("POST", "/v1/jobs", {"json": {"clip": 1}}, 415, "media_type_unsupported"),
    ("POST", "/v1/jobs", {}, 415, "media_type_unsupported"),
    ("POST", "/v1/jobs?faces=every", {"files": {"clip": b"x"}}, 422, "request_invalid"),
    ("POST", "/v1/jobs?video_stream=-1", {"files": {"clip": b"x"}}, 422, "request_invalid"),
    ("POST", "/v1/jobs?audio_stream=x", {"files": {"clip": b"x"}}, 422, "request_invalid"),
    ("POST", "/v1/jobs?face=all", {"files": {"clip": b"x"}}, 422, "request_invalid"),
    ("POST", "/v1/jobs", {"files": {"video": b"x"}}, 422, "clip_field_missing"),
    ("POST", "/v1/jobs", {"files": {"clip": b""}}, 422, "clip_empty"),
    (
        "POST",
        "/v1/jobs",
        {"files": {"clip": b"x"}, "data": {"faces": "x" * 2**17}},
        413,
        "form_too_large",
    ),
    ("POST", "/v1/jobs", {"headers": {"Content-Type": "video/mp4"}}, 422, "clip_empty"),
    ("POST", "/v1/jobs", {"files": {"clip": bytes(2**21)}}, 413, "clip_too_large"),
    (
        "POST",
        "/v1/jobs",
        {"content": b"no form", "headers": {"Content-Type": FORM_CONTENT_TYPE}},
        422,
        "request_invalid",
    ),
    (
        "POST",
        "/v1/jobs",
        {"content": b"", "headers": {"Content-Type": "multipart/form-data"}},
        422,
        "request_invalid",
    ),
    (
        "POST",
        "/v1/jobs",
        {"content": b"x", "headers": {"Content-Type": "video/mp4", "Content-Encoding": "gzip"}},
        415,
        "media_type_unsupported",
    ),
    (
        "POST",
        "/v1/jobs",
        {"files": {"clip": b"x"}, "headers": {"Content-Encoding": "br"}},
        415,
        "media_type_unsupported",
    ),
    ("POST", "/v1/jobs/", {"files": {"clip": b"x"}}, 404, "route_unknown"),
    ("GET", "/health/live/", {}, 404, "route_unknown"),
    ("GET", "/redoc", {}, 404, "route_unknown"),
    ("POST", "/v2/jobs", {"content": b"body"}, 404, "route_unknown"),
    ("GET", "/", {}, 404, "route_unknown"),
    ("PUT", "/v1/jobs", {"content": b"body"}, 405, "method_not_allowed"),
    ("POST", "/v1/jobs?faces=all&faces=primary", {"files": {"clip": b"x"}}, 422, "request_invalid"),
    ("GET", "/v1/jobs?state=failed&state=queued", {}, 422, "request_invalid"),
    ("GET", f"{UNKNOWN_JOB_URL}/result?format=csv&format=json", {}, 422, "request_invalid"),
    ("GET", "/v1/jobs/what", {}, 404, "job_unknown"),
    ("GET", UNKNOWN_JOB_URL, {}, 404, "job_unknown"),
    ("GET", f"{UNKNOWN_JOB_URL}/result", {}, 404, "job_unknown"),
    ("GET", f"{UNKNOWN_JOB_URL}/result?format=xml", {}, 406, "result_format_unknown"),
    (
        "GET",
        f"{UNKNOWN_JOB_URL}/result",
        {"headers": {"Accept": "image/png"}},
        406,
        "result_format_unknown",
    ),
]


@pytest.mark.parametrize(("method", "path", "request_parts", "status", "code"), REFUSED_REQUESTS)
async def test_refused_request_returns_its_problem(
    address: str,
    env: JobEnvironment,
    method: str,
    path: str,
    request_parts: dict[str, Any],
    status: int,
    code: str,
) -> None:
    async with httpx.AsyncClient(base_url=address) as client:
        answer = await client.request(method, path, **request_parts)

    assert_is_problem(answer, status, code)
    assert env.list_stored_files("clips") == []


def test_every_request_error_has_a_test() -> None:
    elsewhere = {
        *("request_too_slow", "head_too_large", "request_malformed"),
        *("upload_interrupted", "result_not_ready", "job_finished", "job_not_retryable"),
        *("unauthenticated", "scope_missing", "rate_exceeded", "quota_exceeded"),
        *("idempotency_key_reused", "idempotency_key_in_use", "answer_stalled"),
        *("stream_out_of_order", "stream_overrun", "stream_idle", "stream_superseded"),
        *("resume_token_invalid", "stream_gone", "origin_refused", "upgrade_required"),
        *("host_refused", "model_unknown"),
    }

    assert {error.code for error in RequestError.__subclasses__()} == elsewhere | {
        refusal[-1] for refusal in REFUSED_REQUESTS
    }


async def test_refused_method_returns_the_allowed_ones(address: str) -> None:
    async with httpx.AsyncClient(base_url=address) as client:
        put = await client.put(UNKNOWN_JOB_URL)
        patch = await client.patch("/v1/jobs")

    assert "DELETE, GET, HEAD" in assert_is_problem(put, 405, "method_not_allowed")["detail"]
    assert put.headers["allow"] == "DELETE, GET, HEAD"
    assert (patch.status_code, patch.headers["allow"]) == (405, "GET, HEAD, POST")


async def test_identity_content_encoding_is_accepted(address: str) -> None:
    headers = {"Content-Type": "video/mp4", "Content-Encoding": "Identity"}
    async with httpx.AsyncClient(base_url=address) as client:
        answer = await client.post("/v1/jobs", content=b"clip", headers=headers)

    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("form", "named"),
    [
        ({"files": {"video": b"x"}, "data": {"b": "c"}}, ("'b'", "'video'")),
        ({"files": {"x": (None, "y")}, "data": {"clip": "text"}}, ("'clip' is text",)),
    ],
)
async def test_form_without_a_clip_names_its_fields(
    address: str, form: dict[str, Any], named: tuple[str, ...]
) -> None:
    async with httpx.AsyncClient(base_url=address) as client:
        answer = await client.post("/v1/jobs", **form)

    detail = assert_is_problem(answer, 422, "clip_field_missing")["detail"]
    for name in named:
        assert name in detail


async def test_early_request_of_a_result_is_not_ready(address: str, env: JobEnvironment) -> None:
    job_id = await env.submit()
    async with httpx.AsyncClient(base_url=address) as client:
        answer = await client.get(f"/v1/jobs/{job_id}/result")

    problem = assert_is_problem(answer, 409, "result_not_ready")
    assert job_id == problem["job_id"]
    assert "retry-after" in answer.headers


async def test_trace_id_of_the_caller_is_used(address: str) -> None:
    headers = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}
    async with httpx.AsyncClient(base_url=address, headers=headers) as client:
        answer = await client.get("/v1/jobs/what")

    assert assert_is_problem(answer, 404, "job_unknown")["trace_id"] == TRACE_ID


@pytest.mark.parametrize(
    ("error", "status"), [(ClipNotMedia("a text file"), 422), (InferenceFailed("boom"), 502)]
)
async def test_failed_job_returns_its_own_problem(
    address: str, env: JobEnvironment, error: ClipNotMedia | InferenceFailed, status: int
) -> None:
    job_id = await env.submit()
    async with env.running_worker(make_failing_analysis(error)):
        await env.wait_for_end(job_id)
    async with httpx.AsyncClient(base_url=address) as client:
        job = (await client.get(f"/v1/jobs/{job_id}")).json()
        answer = await client.get(f"/v1/jobs/{job_id}/result")

    assert job["state"] == "failed"
    assert (error.code, error.detail) == (job["error"]["code"], job["error"]["detail"])
    problem = assert_is_problem(answer, status, error.code)
    assert (job_id, error.detail) == (problem["job_id"], problem["detail"])


async def test_job_is_refused_without_redis(
    gateway: GatewayContext, env: JobEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        settings = env.settings.model_copy(update={"redis_url": server.url})
        async with JobQueue.open(settings) as queue:
            app = create_app(dataclasses.replace(gateway, job_queue=queue))
            async with serving(app) as address, httpx.AsyncClient(base_url=address) as client:
                await _lose_redis_after_upload(client, server)
                answer = await client.post("/v1/jobs", files={"clip": b"bytes"})

    assert_is_problem(answer, 503, "queue_unavailable")
    assert "retry-after" in answer.headers


async def _lose_redis_after_upload(client: httpx.AsyncClient, server: RedisServer) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"first half"
        server.stop()
        yield b"second half"

    headers = {"Content-Type": "video/mp4"}
    answer = await client.post("/v1/jobs", content=body(), headers=headers)
    assert_is_problem(answer, 503, "queue_unavailable")


async def test_unwritable_store_is_a_problem(gateway: GatewayContext, env: JobEnvironment) -> None:
    env.settings.store_dir.write_text("a file where the folder should be")
    async with (
        serving(create_app(gateway)) as address,
        httpx.AsyncClient(base_url=address) as client,
    ):
        answer = await client.post("/v1/jobs", files={"clip": b"bytes"})

    assert_is_problem(answer, 503, "store_unavailable")
    assert (await env.queue.measure_backlog()).depth == 0


async def test_internal_error_leaks_no_details(
    gateway: GatewayContext, inference_server: FakeInferenceServer
) -> None:
    inference_server.error = ZeroDivisionError("a secret")
    async with (
        serving(create_app(gateway)) as address,
        httpx.AsyncClient(base_url=address) as client,
    ):
        answer = await client.get("/health/ready")

    assert_is_problem(answer, 500, "internal_error")
    assert "secret" not in answer.text
