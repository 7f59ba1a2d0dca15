"""Handlers of the services that need no API key, within limits: health and server reflection."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from service.errors import CircumplexError, RequestInvalid
from service.gateway.rpc.call_context import (
    ANNOTATION_SERVICE,
    JOB_SERVICE,
    MODEL_SERVICE,
    TRACE_METADATA_KEY,
)
from service.gateway.rpc.call_limits import (
    CallLimits,
    FirstMessageReader,
    client_of_peer,
    connection_of_peer,
)
from service.gateway.rpc.health import GatewayHealthServicer
from service.gateway.rpc.status import status_of
from service.telemetry.logs import TRACE_ID, trace_id_of

REFLECTION_SERVICE_NAMES: Final = ("grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME)
"""v1 has the messages of v1alpha, the version that the library provides."""


def create_health_handler(
    servicer: GatewayHealthServicer, limits: CallLimits
) -> grpc.GenericRpcHandler:
    """Make the handler of grpc.health.v1, whose calls count apart from all others."""

    async def read_request(requests: AsyncIterator[bytes], client_id: str) -> Any:
        data = await _read_message(limits.health_messages, requests, client_id)
        return None if data is None else _parse(health_pb2.HealthCheckRequest, data)

    async def handle(respond: Any, requests: AsyncIterator[bytes], context: Any) -> None:
        client_id = client_of_peer(context)

        async def body() -> None:
            request = await read_request(requests, client_id)
            if request is not None:
                await respond(request, context)

        with limits.connections.in_use(connection_of_peer(context)):
            await _serve_within(limits.health_call(client_id), context, body)

    async def check(requests: AsyncIterator[bytes], context: Any) -> None:
        await handle(servicer.check, requests, context)

    async def watch(requests: AsyncIterator[bytes], context: Any) -> None:
        await handle(servicer.watch, requests, context)

    create: Any = grpc.stream_stream_rpc_method_handler
    handlers = {
        name: create(method, response_serializer=health_pb2.HealthCheckResponse.SerializeToString)
        for name, method in (("Check", check), ("Watch", watch))
    }
    return grpc.method_handlers_generic_handler(health.SERVICE_NAME, handlers)


def create_reflection_handlers(limits: CallLimits) -> list[grpc.GenericRpcHandler]:
    """Make the handlers of server reflection, under both its names.

    A call ends when its next request does not come in time.
    """
    service_names = (
        ANNOTATION_SERVICE.full_name,
        JOB_SERVICE.full_name,
        MODEL_SERVICE.full_name,
        health.SERVICE_NAME,
        reflection.SERVICE_NAME,
    )
    servicer: Any = reflection.aio.ReflectionServicer(service_names)

    async def reflect(requests: AsyncIterator[bytes], context: Any) -> None:
        client_id = client_of_peer(context)

        async def read_requests() -> AsyncGenerator[Any]:
            while (
                data := await _read_message(limits.first_messages, requests, client_id)
            ) is not None:
                yield _parse(reflection_pb2.ServerReflectionRequest, data)

        async def body() -> None:
            async for response in servicer.ServerReflectionInfo(read_requests(), context):
                await context.write(response)

        with limits.connections.in_use(connection_of_peer(context)):
            await _serve_within(limits.call_of_address(client_id), context, body)

    create: Any = grpc.stream_stream_rpc_method_handler
    method = create(
        reflect, response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString
    )
    return [
        grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method})
        for name in REFLECTION_SERVICE_NAMES
    ]


async def _serve_within(
    limit: AbstractContextManager[None], context: Any, body: Callable[[], Awaitable[None]]
) -> None:
    """Run the body of a call within a limit; an error ends the call with its status."""
    try:
        with limit:
            await body()
    except CircumplexError as error:
        TRACE_ID.set(trace_id_of(""))
        status = status_of(error)
        metadata = ((TRACE_METADATA_KEY, TRACE_ID.get()), *status.metadata)
        await context.abort(status.code, status.message, metadata)


async def _read_message(
    reader: FirstMessageReader, requests: AsyncIterator[bytes], client_id: str
) -> bytes | None:
    """Read the next message; None: the client has sent its last one. Raises: RequestTooSlow."""

    async def read() -> bytes | None:
        return await anext(aiter(requests), None)  # aiter gives the same iterator each time

    return await reader.read(client_id, read)


def _parse(message_class: Any, data: bytes) -> Any:
    try:
        return message_class.FromString(data)
    except DecodeError as error:
        raise RequestInvalid(f"this is no {message_class.DESCRIPTOR.name}") from error
