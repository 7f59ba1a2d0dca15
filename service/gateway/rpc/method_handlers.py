"""From methods written in our own words to what gRPC calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import aclosing, contextmanager
from functools import partial
from typing import Any, Final

import grpc
from circumplex.v1.jobs_pb2 import SubmitJobResponse
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError

from service.domain.caller import Caller
from service.errors import RequestInvalid
from service.gateway.context import GatewayContext
from service.gateway.rpc.call_context import CallContext
from service.gateway.rpc.method_table import RpcMethod, list_methods
from service.gateway.use_cases.reauthentication import while_authorized

CANCELLATION_WAIT_SECONDS: Final = 0.1
"""A client that is lost looks for a moment like one that has sent everything."""


class InFlightCalls:
    """Counts them, so that the end can wait for the last."""

    def __init__(self) -> None:
        self._count = 0
        self.drained = asyncio.Event()
        self.drained.set()

    @contextmanager
    def track_call(self) -> Generator[None]:
        """A call for as long as the context lasts."""
        self._count += 1
        self.drained.clear()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self.drained.set()


def create_service_handler(
    service: ServiceDescriptor, servicer: object, gateway: GatewayContext, calls: InFlightCalls
) -> grpc.GenericRpcHandler:
    """A service of the contract. For each method `servicer` has one in snake case, which takes a
    request, or an iterator over requests, and the caller; it returns a response, or yields them.
    """
    handlers: dict[str, Any] = {}
    for method in list_methods(service):
        behavior = getattr(servicer, method.action)
        handlers[method.descriptor.name] = _create_method_handler(method, behavior, gateway, calls)
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _create_method_handler(
    method: RpcMethod, behavior: Any, gateway: GatewayContext, calls: InFlightCalls
) -> Any:
    is_client_streaming = method.descriptor.client_streaming
    is_server_streaming = method.descriptor.server_streaming
    create = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[is_client_streaming, is_server_streaming]
    serve = partial(
        _serve_stream if is_server_streaming else _serve_unary, method, behavior, gateway, calls
    )

    async def handle(sent: Any, context: Any) -> Any:
        return await serve(sent, context)

    return create(handle, response_serializer=_serialize)


def _serialize(response: Any) -> bytes:
    return response.SerializeToString()


def _parse_request(method: RpcMethod, data: bytes) -> Any:
    """A request; raises RequestInvalid."""
    try:
        return method.request_class.FromString(data)
    except DecodeError as error:
        raise RequestInvalid(f"this is no {method.descriptor.input_type.name}") from error


async def _serve_unary(
    method: RpcMethod,
    behavior: Any,
    gateway: GatewayContext,
    calls: InFlightCalls,
    received: Any,
    context: Any,
) -> Any:
    call = CallContext(method, gateway, context)

    async def respond(caller: Caller) -> Any:
        response = await behavior(_to_request_or_stream(method, received, call), caller)
        if isinstance(response, SubmitJobResponse):
            call.job_id = response.job.id
        await call.send_initial_metadata()
        return response

    with calls.track_call():
        return await call.serve(respond)


async def _serve_stream(
    method: RpcMethod,
    behavior: Any,
    gateway: GatewayContext,
    calls: InFlightCalls,
    received: Any,
    context: Any,
) -> None:
    call = CallContext(method, gateway, context)

    async def respond(caller: Caller) -> None:
        responses: AsyncGenerator[Any] = behavior(
            _to_request_or_stream(method, received, call), caller
        )
        async with while_authorized(gateway.authenticator, caller), aclosing(responses):
            async for response in responses:
                await call.send(response)

    with calls.track_call():
        await call.serve(respond)


def _to_request_or_stream(method: RpcMethod, received: Any, call: CallContext) -> Any:
    """The request, or all of them."""
    if method.descriptor.client_streaming:
        return _parse_request_stream(method, received)
    request = _parse_request(method, received)
    call.job_id = getattr(request, "job_id", "")
    return request


async def _parse_request_stream(
    method: RpcMethod, received: AsyncIterator[bytes]
) -> AsyncGenerator[Any]:
    """Requests; they end only where the client has said so.

    Of a lost client the library tells that its requests have ended, and then cancels the call.
    Raises: RequestInvalid.
    """
    async for each in received:
        yield _parse_request(method, each)
    await asyncio.sleep(CANCELLATION_WAIT_SECONDS)
