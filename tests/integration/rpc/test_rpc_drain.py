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

from tests.integration.processes import process_of
from tests.integration.rooms import Rooms, eventually
from tests.integration.rpc.talking import (
    Client,
    frame,
    opened,
    refusal,
    submission,
    submitted,
    talking,
    told_by,
    until,
)
from tests.integration.servers import free_port

PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Running:
    process: subprocess.Popen[bytes]
    client: Client

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def exit_status(self) -> int:
        return await asyncio.to_thread(self.process.wait, PATIENCE_SECONDS)


@asynccontextmanager
async def doors_of(rooms: Rooms, **update: object) -> AsyncGenerator[Running]:
    """A gateway with both its doors in a process of its own, once it is ready."""
    ports = {"http_port": free_port(), "grpc_port": free_port()}
    settings = rooms.settings.model_copy(update={**ports, **update})
    with process_of(settings, "doors") as process:

        async def ready() -> bool | None:
            try:
                url = f"http://127.0.0.1:{settings.http_port}/health/ready"
                async with httpx.AsyncClient() as client:
                    return (await client.get(url)).is_success or None
            except httpx.TransportError:
                return None

        await eventually(ready, 60.0)
        async with talking(f"127.0.0.1:{settings.grpc_port}") as client:
            yield Running(process=process, client=client)


async def test_streams_get_a_token_uploads_end_and_newcomers_are_told_to_come_back(
    rooms: Rooms,
) -> None:
    async with doors_of(rooms, drain_seconds=PATIENCE_SECONDS) as gateway:
        client = gateway.client
        job_id = await submitted(client)
        stream = await opened(client)
        await stream.write(frame(0))
        await stream.read()
        watch = client.jobs.WatchJob(wire.WatchJobRequest(job_id=job_id))
        await watch.read()
        health = client.health.Watch(HealthCheckRequest())
        await until(health, HealthCheckResponse.SERVING)
        requests = list(submission())
        upload = client.jobs.SubmitJob()
        await upload.write(requests[0])
        await upload.write(requests[1])

        gateway.stop()
        started = time.monotonic()
        assert (await health.read()).status == HealthCheckResponse.NOT_SERVING
        assert (await stream.read()).draining.resume_token == "token-of-0"
        told = await refusal(stream)
        sent_home = await refusal(watch)
        newcomer = await refusal(client.jobs.ListJobs(wire.ListJobsRequest()))
        for request in requests[2:]:
            await upload.write(request)
        await upload.done_writing()
        late = await upload
        assert await gateway.exit_status() == 0
        assert time.monotonic() - started < PATIENCE_SECONDS / 2

    assert {each.status for each in (told, sent_home, newcomer)} == {"UNAVAILABLE"}
    assert {each.code for each in (told, sent_home, newcomer)} == {"gateway_draining"}
    assert newcomer.retry_seconds is not None
    assert late.job.state == "queued"
    assert (await rooms.desk.backlog()).depth == 2


async def test_an_upload_that_does_not_end_is_refused_in_time(rooms: Rooms) -> None:
    async with doors_of(rooms, drain_seconds=1.0) as gateway:
        upload = gateway.client.jobs.SubmitJob()
        for request in list(submission())[:3]:
            await upload.write(request)
        gateway.stop()
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await upload
        assert await gateway.exit_status() == 0
    told = told_by(failure.value)
    assert (told.status, told.code) == ("UNAVAILABLE", "gateway_draining")
    assert rooms.stored("clips") == []
