"""Health service and server reflection."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service.gateway.context import GatewayContext
from service.gateway.lifecycle import ShutdownPhase
from tests.fake_estimators import FakeInferenceServer
from tests.integration.rpc.grpc_client import (
    GrpcClient,
    open_grpc_client,
    open_stream,
    parse_error,
    wait_for_health,
)
from tests.integration.servers import RedisServer, serving_grpc

ANNOTATION = "circumplex.v1.AnnotationService"
JOBS = "circumplex.v1.JobService"
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
UNKNOWN = HealthCheckResponse.SERVICE_UNKNOWN


async def test_a_service_is_serving_while_its_dependencies_are_ready(
    gateway: GatewayContext, inference_server: FakeInferenceServer
) -> None:
    async with (
        serving_grpc(gateway, 0) as port,
        open_grpc_client(f"127.0.0.1:{port}") as client,
    ):
        watches = [
            client.health.Watch(HealthCheckRequest(service=name)) for name in ("", ANNOTATION, JOBS)
        ]
        cancelled = client.health.Watch(HealthCheckRequest())
        for call in (*watches, cancelled):
            await wait_for_health(call, SERVING)
        cancelled.cancel()
        inference_server.unloaded.add(gateway.estimators.choose(None))
        for call in watches:
            await wait_for_health(call, NOT_SERVING)
        inference_server.unloaded.clear()
        for call in watches:
            await wait_for_health(call, SERVING)
        for call in watches:
            call.cancel()


async def test_streams_need_no_queue(gateway: GatewayContext, redis_server: RedisServer) -> None:
    async with serving_grpc(gateway, 0) as port, open_grpc_client(f"127.0.0.1:{port}") as client:
        call = client.health.Watch(HealthCheckRequest(service=JOBS))
        await wait_for_health(call, SERVING)
        with redis_server.frozen():
            await wait_for_health(call, NOT_SERVING)
            response = await client.health.Check(HealthCheckRequest(service=ANNOTATION))
        await wait_for_health(call, SERVING)
        call.cancel()
    assert response.status == SERVING


async def test_a_draining_gateway_is_not_serving(
    gateway: GatewayContext, client: GrpcClient
) -> None:
    call = client.health.Watch(HealthCheckRequest())
    await wait_for_health(call, SERVING)
    gateway.shutdown.advance(ShutdownPhase.ANNOUNCED)
    await wait_for_health(call, NOT_SERVING)
    current = await client.health.Check(HealthCheckRequest(service=ANNOTATION))
    assert current.status == NOT_SERVING
    call.cancel()


async def test_an_unknown_service_is_not_found(client: GrpcClient) -> None:
    call = client.health.Watch(HealthCheckRequest(service="nothing"))
    assert (await call.read()).status == UNKNOWN
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await client.health.Check(HealthCheckRequest(service="nothing"))
    assert failure.value.code() is grpc.StatusCode.NOT_FOUND
    call.cancel()


def serialize(message: Message) -> bytes:
    return message.SerializeToString()


async def query_reflection(channel: Any, **query: Any) -> Any:
    """Send one request to the reflection service; returns the response."""
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(**query))
    response = await call.read()
    await call.done_writing()
    return response


async def discover_services(channel: Any) -> tuple[set[str], descriptor_pool.DescriptorPool]:
    """Names of all services, and their descriptors, both from server reflection."""
    listed = await query_reflection(channel, list_services="*")
    names = {service.name for service in listed.list_services_response.service}
    files: dict[str, bytes] = {}
    pool = descriptor_pool.DescriptorPool()
    for name in sorted(names):
        response = await query_reflection(channel, file_containing_symbol=name)
        for content in response.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(content)
            if file.name not in files:
                files[file.name] = content
    missing = dict(files)
    while missing:
        for name, content in list(missing.items()):
            file = descriptor_pb2.FileDescriptorProto.FromString(content)
            if not missing.keys() & {*file.dependency}:
                pool.AddSerializedFile(missing.pop(name))
    return names, pool


async def test_a_generic_tool_can_call_through_reflection(client: GrpcClient) -> None:
    names, pool = await discover_services(client.channel)
    assert names >= {ANNOTATION, JOBS, "circumplex.v1.ModelService", "grpc.health.v1.Health"}
    method = pool.FindServiceByName(JOBS).methods_by_name["GetJob"]
    request: Any = message_factory.GetMessageClass(method.input_type)
    response: Any = message_factory.GetMessageClass(method.output_type)
    call = client.channel.unary_unary(
        f"/{JOBS}/GetJob",
        request_serializer=serialize,
        response_deserializer=response.FromString,
    )
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call(request(job_id="none"))
    assert parse_error(failure.value).code == "job_unknown"

    stream = pool.FindServiceByName(ANNOTATION).methods_by_name["StreamingAnnotate"]
    stream_request: Any = message_factory.GetMessageClass(stream.input_type)
    stream_response: Any = message_factory.GetMessageClass(stream.output_type)
    annotate = client.channel.stream_stream(
        f"/{ANNOTATION}/StreamingAnnotate",
        request_serializer=serialize,
        response_deserializer=stream_response.FromString,
    )()
    first = stream_request()
    first.config.container.SetInParent()
    await annotate.write(first)
    assert (await annotate.read()).config_ack.stream_id == "pretended"
    await annotate.done_writing()
    assert (await annotate.read()).WhichOneof("message") == "summary"


async def test_reflection_is_served_under_its_v1_name_too(client: GrpcClient) -> None:
    call = client.channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=serialize,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services="*"))
    names = {each.name for each in (await call.read()).list_services_response.service}
    assert ANNOTATION in names
    call.cancel()


async def test_a_stream_survives_a_short_dependency_outage(
    gateway: GatewayContext, client: GrpcClient
) -> None:
    call = await open_stream(client)
    health = client.health.Watch(HealthCheckRequest())
    gateway.shutdown.advance(ShutdownPhase.ANNOUNCED)
    await wait_for_health(health, NOT_SERVING)
    health.cancel()
    await call.done_writing()
    assert (await call.read()).HasField("summary")
