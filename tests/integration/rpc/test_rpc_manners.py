"""Clients that leave, stall, stay silent or crowd in."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import grpc
import pytest
from circumplex.v1 import jobs_pb2 as wire

from service.jobs.record import result_key
from service.office.gateway import Gateway
from service.rpc import options
from service.rpc.door import open_door
from tests.integration.pretence import analysis_of, chunks_of
from tests.integration.rooms import Rooms, eventually
from tests.integration.rpc.frames import ACK, GOAWAY, PING, Plain
from tests.integration.rpc.scripted import ScriptedStreams
from tests.integration.rpc.talking import (
    Client,
    frame,
    opened,
    refusal,
    rest_of,
    submitted,
    talking,
)

FREED_SECONDS = 5.0
"""What takes some milliseconds, on a machine that has other things to do."""


async def freed(streams: ScriptedStreams) -> None:
    async def none_open() -> bool | None:
        return streams.open == 0 or None

    await eventually(none_open, FREED_SECONDS)


async def measured(gateway: Gateway, status: str) -> float:
    """How often streams ended with a status."""
    labels = {"method": "circumplex.v1.AnnotationService/StreamingAnnotate", "status": status}
    name = "circumplex_grpc_request_duration_seconds_count"
    return gateway.metrics.registry.get_sample_value(name, labels) or 0.0


async def test_media_and_results_take_turns_until_the_client_says_that_it_is_the_end(
    client: Client, gateway: Gateway, streams: ScriptedStreams
) -> None:
    call = await opened(client)
    for index in range(3):
        await call.write(frame(index))
        assert (await call.read()).frame_result.index == index
    await call.done_writing()
    assert [each.summary.frames async for each in rest_of(call)] == [3]
    assert await call.code() is grpc.StatusCode.OK
    assert streams.ends == {"ended": 1}
    assert await measured(gateway, "OK") == 1


async def test_a_client_that_cancels_frees_its_stream(
    client: Client, gateway: Gateway, streams: ScriptedStreams
) -> None:
    call = await opened(client)
    await call.write(frame(0))
    await call.read()
    assert streams.open == 1
    call.cancel()
    await freed(streams)
    assert streams.ends == {"left": 1}
    assert await measured(gateway, "CANCELLED") == 1


async def test_a_deadline_frees_its_stream(
    client: Client, gateway: Gateway, streams: ScriptedStreams
) -> None:
    call = await opened(client, timeout=0.5)
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call.read()
    await freed(streams)
    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert streams.ends == {"left": 1}
    assert await measured(gateway, "DEADLINE_EXCEEDED") == 1


async def test_a_client_that_is_killed_has_not_said_that_it_is_the_end(
    target: str, streams: ScriptedStreams
) -> None:
    with subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-m", "tests.integration.rpc.staying", target], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == b"open\n"
        assert streams.open == 1
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        await freed(streams)
    assert streams.ends == {"left": 1}


async def test_nothing_is_made_for_a_client_that_reads_nothing(
    client: Client, streams: ScriptedStreams
) -> None:
    """At most what fits the connection's window, a few hundred results of a kilobyte."""
    call = await opened(client, "endless")
    made = -1
    while made != streams.made:
        made = streams.made
        await asyncio.sleep(0.5)
    assert made < 10_000
    for _ in range(made + 1000):
        assert (await call.read()).HasField("frame_result")
    call.cancel()
    await freed(streams)


async def test_an_answer_that_nobody_takes_is_given_up(gateway: Gateway, rooms: Rooms) -> None:
    hasty = gateway.settings.model_copy(update={"response_stall_seconds": 0.5})
    async with (
        open_door(dataclasses.replace(gateway, settings=hasty), 0) as port,
        talking(f"127.0.0.1:{port}") as client,
    ):
        job_id = await submitted(client)
        async with rooms.worker(analysis_of(3)):
            record = await rooms.finished(job_id)
        assert record.published
        key = result_key(job_id, record.published, "json")
        await rooms.store.put(key, chunks_of(*[bytes(2**20)] * 64))
        call = client.jobs.GetResult(wire.GetResultRequest(job_id=job_id))
        await call.read()

        async def ended() -> bool | None:
            name = "circumplex_grpc_request_duration_seconds_count"
            labels = {
                "method": "circumplex.v1.JobService/GetResult",
                "status": "DEADLINE_EXCEEDED",
            }
            return bool(gateway.metrics.registry.get_sample_value(name, labels)) or None

        await eventually(ended)
        told = await refusal(call)
    assert (told.status, told.code) == ("DEADLINE_EXCEEDED", "answer_stalled")


async def test_more_calls_than_are_served_are_refused(gateway: Gateway) -> None:
    few = gateway.settings.model_copy(update={"max_calls": 2})
    async with (
        open_door(dataclasses.replace(gateway, settings=few), 0) as port,
        talking(f"127.0.0.1:{port}") as client,
    ):
        calls = [await opened(client) for _ in range(2)]
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await client.jobs.ListJobs(wire.ListJobsRequest())
        calls[0].cancel()

        async def served() -> bool | None:
            try:
                return await client.jobs.ListJobs(wire.ListJobsRequest()) is not None
            except grpc.aio.AioRpcError:
                return None

        assert await eventually(served)
        calls[1].cancel()
    assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_more_connections_than_are_served_are_closed(gateway: Gateway) -> None:
    few = gateway.settings.model_copy(update={"max_connections": 3})
    async with open_door(dataclasses.replace(gateway, settings=few), 0) as port:
        guests = [await Plain.connect(port) for _ in range(3)]
        assert all([await guest.is_answered() for guest in guests])
        newcomer = await Plain.connect(port)
        assert not await newcomer.is_answered()
        for guest in (*guests, newcomer):
            guest.close()


@asynccontextmanager
async def pinging(gateway: Gateway, seconds: float) -> AsyncGenerator[Plain]:
    often = gateway.settings.model_copy(update={"grpc_keepalive_seconds": seconds})
    async with open_door(dataclasses.replace(gateway, settings=often), 0) as port:
        connection = await Plain.connect(port)
        assert await connection.is_answered()
        yield connection
        connection.close()


async def test_a_silent_client_is_asked_whether_it_is_there(gateway: Gateway) -> None:
    async with pinging(gateway, 1.0) as connection:
        for _ in range(2):
            await connection.answer(await connection.await_frame(PING, 10.0))


async def test_a_client_that_does_not_answer_pings_is_gone(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "PING_TIMEOUT_SECONDS", 1)
    async with pinging(gateway, 1.0) as connection:
        await connection.await_frame(PING, 10.0)
        assert await connection.await_end(15.0)


async def test_clients_may_ping_as_often_as_is_said_and_not_without_end(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is twenty seconds there is a third of one here."""
    assert options.MIN_PING_SECONDS < 30
    monkeypatch.setattr(options, "MIN_PING_SECONDS", 0.3)
    async with pinging(gateway, 600.0) as connection:
        for _ in range(5):
            await connection.ping()
            await connection.await_frame(PING, 10.0, flags=ACK)
            await asyncio.sleep(0.45)
        assert GOAWAY not in connection.seen
        await connection.ping(20)
        assert b"too_many_pings" in await connection.await_frame(GOAWAY, 10.0)
