"""Shutdown of the gateway while gRPC calls are under way."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import httpx
import pytest
from circumplex.v1 import jobs_pb2 as wire
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from tests.integration.job_environment import JobEnvironment, eventually
from tests.integration.processes import running_service
from tests.integration.rpc.grpc_client import (
    GrpcClient,
    expect_error,
    make_frame_request,
    make_submit_requests,
    open_grpc_client,
    open_stream,
    parse_error,
    submit_job,
    wait_for_health,
)
from tests.integration.servers import free_port

EXIT_TIMEOUT_SECONDS = 30.0
UPLOADED_CLIP = bytes(1_000_000)
"""Large enough for its beginning to be seen in the store."""


@dataclass(frozen=True, kw_only=True)
class RunningGrpcGateway:
    process: subprocess.Popen[bytes]
    client: GrpcClient

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def wait_for_exit(self) -> int:
        return await asyncio.to_thread(self.process.wait, EXIT_TIMEOUT_SECONDS)


@asynccontextmanager
async def running_grpc_gateway(
    env: JobEnvironment, **update: object
) -> AsyncGenerator[RunningGrpcGateway]:
    """Gateway with REST and gRPC in its own process, once it is ready."""
    ports = {"http_port": free_port(), "grpc_port": free_port()}
    settings = env.settings.model_copy(update={**ports, **update})
    with running_service(settings, "gateway", "grpc") as process:

        async def ready() -> bool | None:
            try:
                url = f"http://127.0.0.1:{settings.http_port}/health/ready"
                async with httpx.AsyncClient() as client:
                    return (await client.get(url)).is_success or None
            except httpx.TransportError:
                return None

        await eventually(ready, 60.0)
        async with open_grpc_client(f"127.0.0.1:{settings.grpc_port}") as client:
            yield RunningGrpcGateway(process=process, client=client)


async def wait_for_clip_count(env: JobEnvironment, count: int) -> None:
    """Wait until the store has so many clips, those of unfinished uploads included."""

    async def stored() -> bool | None:
        return len(env.list_stored_files("clips")) == count or None

    await eventually(stored)


async def test_drain_gives_streams_a_token_finishes_uploads_and_refuses_new_calls(
    env: JobEnvironment,
) -> None:
    async with running_grpc_gateway(env, drain_seconds=EXIT_TIMEOUT_SECONDS) as gateway:
        client = gateway.client
        job_id = await submit_job(client)
        stream = await open_stream(client)
        await stream.write(make_frame_request(0))
        await stream.read()
        watch = client.jobs.WatchJob(wire.WatchJobRequest(job_id=job_id))
        await watch.read()
        health = client.health.Watch(HealthCheckRequest())
        await wait_for_health(health, HealthCheckResponse.SERVING)
        requests = list(make_submit_requests(UPLOADED_CLIP))
        upload = client.jobs.SubmitJob()
        for request in requests[:5]:
            await upload.write(request)
        await wait_for_clip_count(env, 2)

        gateway.stop()
        started = time.monotonic()
        assert (await health.read()).status == HealthCheckResponse.NOT_SERVING
        assert (await stream.read()).draining.resume_token == "token-of-0"
        stream_error = await expect_error(stream)
        watch_error = await expect_error(watch)
        new_call_error = await expect_error(client.jobs.ListJobs(wire.ListJobsRequest()))
        for request in requests[5:]:
            await upload.write(request)
        await upload.done_writing()
        submitted = await upload
        assert await gateway.wait_for_exit() == 0
        assert time.monotonic() - started < EXIT_TIMEOUT_SECONDS / 2

    errors = (stream_error, watch_error, new_call_error)
    assert {each.status for each in errors} == {"UNAVAILABLE"}
    assert {each.code for each in errors} == {"gateway_draining"}
    assert new_call_error.retry_seconds is not None
    assert submitted.job.state == "queued"
    assert (await env.queue.measure_backlog()).depth == 2


async def test_an_upload_that_does_not_end_is_refused_in_time(env: JobEnvironment) -> None:
    async with running_grpc_gateway(env, drain_seconds=1.0) as gateway:
        upload = gateway.client.jobs.SubmitJob()
        for request in list(make_submit_requests(UPLOADED_CLIP))[:5]:
            await upload.write(request)
        await wait_for_clip_count(env, 1)
        gateway.stop()
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await upload
        assert await gateway.wait_for_exit() == 0
    error = parse_error(failure.value)
    assert (error.status, error.code) == ("UNAVAILABLE", "gateway_draining")
    assert env.list_stored_files("clips") == []
