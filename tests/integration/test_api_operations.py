"""Liveness, readiness, metrics and the OpenAPI document."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from service.errors import CircumplexError, ClipError, InferenceUnavailable, ServiceError
from service.gateway.context import GatewayContext
from service.gateway.rest.app import create_app
from service.jobs.queue.job_queue import JobQueue
from tests.fake_estimators import FakeInferenceServer
from tests.integration.job_environment import JobEnvironment
from tests.integration.servers import free_port, serving


def iterate_subclasses(root: type[CircumplexError]) -> Iterator[type[CircumplexError]]:
    for each in root.__subclasses__():
        yield each
        yield from iterate_subclasses(each)


async def test_gateway_is_ready_when_its_dependencies_are(address: str) -> None:
    async with httpx.AsyncClient(base_url=address) as client:
        live = await client.get("/health/live")
        ready = await client.get("/health/ready")

    assert (live.status_code, live.json()) == (200, {"status": "live"})
    assert ready.status_code == 200
    assert ready.json()["parts"] == {"triton": "ready", "redis": "ready", "store": "ready"}


async def test_each_unready_dependency_is_named(
    gateway: GatewayContext, env: JobEnvironment, inference_server: FakeInferenceServer
) -> None:
    inference_server.error = InferenceUnavailable()
    unreachable = env.settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}"})
    async with JobQueue.open(unreachable) as queue:
        degraded = dataclasses.replace(gateway, job_queue=queue)
        async with (
            serving(create_app(degraded)) as address,
            httpx.AsyncClient(base_url=address) as client,
        ):
            ready = await client.get("/health/ready")
            live = await client.get("/health/live")

    assert ready.status_code == 503
    assert ready.headers["content-type"] == "application/problem+json"
    assert ready.json()["parts"] == {"triton": "away", "redis": "away", "store": "ready"}
    assert live.status_code == 200


async def test_requests_and_backlog_are_measured(address: str, env: JobEnvironment) -> None:
    async with httpx.AsyncClient(base_url=address) as client:
        await client.post("/v1/jobs", files={"clip": b"bytes"})
        await client.get("/v1/jobs/what")
        await client.get("/somewhere")
        await client.put("/v1/jobs")
        text = (await client.get("/metrics")).text

    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    def requests(method: str, route: str, status: str) -> float:
        labels = [("method", method), ("route", route), ("status", status)]
        return samples["circumplex_http_request_duration_seconds_count", *labels]

    assert requests("POST", "/v1/jobs", "202") == 1
    assert requests("GET", "/v1/jobs/{job_id}", "404") == 1
    assert requests("GET", "unmatched", "404") == 1
    assert requests("PUT", "/v1/jobs", "405") == 1
    assert samples["circumplex_stage_duration_seconds_count", ("stage", "upload")] == 1
    assert samples["circumplex_queue_depth",] == 1
    assert samples["circumplex_queue_oldest_age_seconds",] > 0


async def test_openapi_documents_uploads_and_problems(address: str) -> None:
    async with httpx.AsyncClient(base_url=address) as client:
        document: dict[str, Any] = (await client.get("/openapi.json")).json()
        docs = await client.get("/docs")

    assert docs.status_code == 200
    post = document["paths"]["/v1/jobs"]["post"]
    assert {"multipart/form-data", "application/octet-stream", "video/*", "audio/*"} == set(
        post["requestBody"]["content"]
    )
    refused = {"401", "403", "429"}
    accepted = {"200", "202", "404", "408", "409", "413", "415", "422", "500", "503", "507"}
    assert accepted | refused == set(post["responses"])
    result = document["paths"]["/v1/jobs/{job_id}/result"]["get"]
    fetched = {"200", "404", "406", "409", "422", "500", "502", "503", "507"}
    assert fetched | refused == set(result["responses"])
    job_errors = [*iterate_subclasses(ClipError), *iterate_subclasses(ServiceError)]
    assert {str(error.http_status) for error in job_errors} <= fetched | refused
    form = post["requestBody"]["content"]["multipart/form-data"]["schema"]
    options = {each["name"] for each in post["parameters"] if each["in"] == "query"}
    assert form["properties"].keys() == options | {"clip"}
    assert {"application/json", "text/csv"} == set(result["responses"]["200"]["content"])
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if status >= "400":
                    (body,) = response["content"].values()
                    assert body["schema"] == {"$ref": "#/components/schemas/Problem"}
                    for example in body["examples"].values():
                        assert int(status) == example["value"]["status"]
    assert "HTTPValidationError" not in document["components"]["schemas"]
