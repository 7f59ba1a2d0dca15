"""A gateway that is told to stop: what becomes of calls."""

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
    rooms: JobEnvironment, **update: object
) -> AsyncGenerator[RunningGrpcGateway]:
    """A gateway with both its doors in a process of its own, once it is ready."""
    ports = {"http_port": free_port(), "grpc_port": free_port()}
    settings = rooms.settings.model_copy(update={**ports, **update})
    with running_service(settings, "doors") as process:

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
        requests = list(make_submit_requests())
        upload = client.jobs.SubmitJob()
        await upload.write(requests[0])
        await upload.write(requests[1])

        gateway.stop()
        started = time.monotonic()
        assert (await health.read()).status == HealthCheckResponse.NOT_SERVING
        assert (await stream.read()).draining.resume_token == "token-of-0"
        told = await expect_error(stream)
        sent_home = await expect_error(watch)
        newcomer = await expect_error(client.jobs.ListJobs(wire.ListJobsRequest()))
        for request in requests[2:]:
            await upload.write(request)
        await upload.done_writing()
        late = await upload
        assert await gateway.wait_for_exit() == 0
        assert time.monotonic() - started < EXIT_TIMEOUT_SECONDS / 2

    assert {each.status for each in (told, sent_home, newcomer)} == {"UNAVAILABLE"}
    assert {each.code for each in (told, sent_home, newcomer)} == {"gateway_draining"}
    assert newcomer.retry_seconds is not None
    assert late.job.state == "queued"
    assert (await env.queue.measure_backlog()).depth == 2


async def test_an_upload_that_does_not_end_is_refused_in_time(env: JobEnvironment) -> None:
    async with running_grpc_gateway(env, drain_seconds=1.0) as gateway:
        upload = gateway.client.jobs.SubmitJob()
        for request in list(make_submit_requests())[:3]:
            await upload.write(request)
        gateway.stop()
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await upload
        assert await gateway.wait_for_exit() == 0
    told = parse_error(failure.value)
    assert (told.status, told.code) == ("UNAVAILABLE", "gateway_draining")
    assert env.list_stored_files("clips") == []
