"""What operators and tools ask: health, and the contract itself."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service.office.gateway import Gateway
from service.rpc.door import open_door
from tests.integration.rpc.talking import Client, opened, talking, told_by, until
from tests.integration.servers import RedisServer

ANNOTATION = "circumplex.v1.AnnotationService"
JOBS = "circumplex.v1.JobService"
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
UNKNOWN = HealthCheckResponse.SERVICE_UNKNOWN


async def test_a_service_is_served_while_what_it_needs_is_there(gateway: Gateway) -> None:
    is_warm = True

    async def ready() -> bool:
        return is_warm

    async with (
        open_door(dataclasses.replace(gateway, inference_ready=ready), 0) as port,
        talking(f"127.0.0.1:{port}") as client,
    ):
        watches = [
            client.health.Watch(HealthCheckRequest(service=name)) for name in ("", ANNOTATION, JOBS)
        ]
        leaver = client.health.Watch(HealthCheckRequest())
        for call in (*watches, leaver):
            await until(call, SERVING)
        leaver.cancel()
        is_warm = False
        for call in watches:
            await until(call, NOT_SERVING)
        is_warm = True
        for call in watches:
            await until(call, SERVING)
        for call in watches:
            call.cancel()


async def test_streams_need_no_queue(gateway: Gateway, redis_server: RedisServer) -> None:
    async with open_door(gateway, 0) as port, talking(f"127.0.0.1:{port}") as client:
        call = client.health.Watch(HealthCheckRequest(service=JOBS))
        await until(call, SERVING)
        with redis_server.frozen():
            await until(call, NOT_SERVING)
            answer = await client.health.Check(HealthCheckRequest(service=ANNOTATION))
        await until(call, SERVING)
        call.cancel()
    assert answer.status == SERVING


async def test_a_gateway_that_is_to_stop_is_not_served(gateway: Gateway, client: Client) -> None:
    call = client.health.Watch(HealthCheckRequest())
    await until(call, SERVING)
    gateway.drain.announced.set()
    await until(call, NOT_SERVING)
    later = await client.health.Check(HealthCheckRequest(service=ANNOTATION))
    assert later.status == NOT_SERVING
    call.cancel()


async def test_a_service_that_there_is_not(client: Client) -> None:
    call = client.health.Watch(HealthCheckRequest(service="nothing"))
    assert (await call.read()).status == UNKNOWN
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await client.health.Check(HealthCheckRequest(service="nothing"))
    assert failure.value.code() is grpc.StatusCode.NOT_FOUND
    call.cancel()


async def ask(channel: Any, **question: Any) -> Any:
    """One question to the reflection service, as tools ask it."""
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(**question))
    answer = await call.read()
    await call.done_writing()
    return answer


async def learned(channel: Any) -> tuple[set[str], descriptor_pool.DescriptorPool]:
    """All services, and all that it takes to speak to them, from the server alone."""
    listed = await ask(channel, list_services="*")
    names = {service.name for service in listed.list_services_response.service}
    files: dict[str, bytes] = {}
    pool = descriptor_pool.DescriptorPool()
    for name in sorted(names):
        answer = await ask(channel, file_containing_symbol=name)
        for content in answer.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(content)
            if file.name not in files:
                files[file.name] = content
    waiting = dict(files)
    while waiting:
        for name, content in list(waiting.items()):
            file = descriptor_pb2.FileDescriptorProto.FromString(content)
            if not waiting.keys() & {*file.dependency}:
                pool.AddSerializedFile(waiting.pop(name))
    return names, pool


async def test_a_tool_that_knows_nothing_learns_the_contract_and_calls(client: Client) -> None:
    names, pool = await learned(client.channel)
    assert names >= {ANNOTATION, JOBS, "grpc.health.v1.Health"}
    method = pool.FindServiceByName(JOBS).methods_by_name["GetJob"]
    request = message_factory.GetMessageClass(method.input_type)
    response = message_factory.GetMessageClass(method.output_type)
    call = client.channel.unary_unary(
        f"/{JOBS}/GetJob",
        request_serializer=lambda told: told.SerializeToString(),
        response_deserializer=response.FromString,
    )
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call(request(job_id="none"))
    assert told_by(failure.value).code == "job_unknown"

    stream = pool.FindServiceByName(ANNOTATION).methods_by_name["StreamingAnnotate"]
    sent = message_factory.GetMessageClass(stream.input_type)
    heard = message_factory.GetMessageClass(stream.output_type)
    annotate = client.channel.stream_stream(
        f"/{ANNOTATION}/StreamingAnnotate",
        request_serializer=lambda told: told.SerializeToString(),
        response_deserializer=heard.FromString,
    )()
    first = sent()
    first.config.container.SetInParent()
    await annotate.write(first)
    assert (await annotate.read()).config_ack.stream_id == "pretended"
    await annotate.done_writing()
    assert (await annotate.read()).WhichOneof("message") == "summary"


async def test_newer_tools_find_reflection_under_its_new_name(client: Client) -> None:
    call = client.channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=lambda told: told.SerializeToString(),
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services="*"))
    names = {each.name for each in (await call.read()).list_services_response.service}
    assert ANNOTATION in names
    call.cancel()


async def test_a_stream_is_untouched_by_a_part_that_is_away_for_a_while(
    gateway: Gateway, client: Client
) -> None:
    call = await opened(client)
    gateway.drain.announced.set()
    await asyncio.sleep(0.5)
    await call.done_writing()
    assert (await call.read()).HasField("summary")
