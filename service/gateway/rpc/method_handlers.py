"""Adapters from the servicers' methods to the handlers that gRPC calls."""

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

from service.auth.authenticator import while_authorized
from service.domain.caller import Caller
from service.errors import RequestInvalid
from service.gateway.context import GatewayContext
from service.gateway.rpc.call_context import CallContext, RpcMethod, list_methods

CANCELLATION_WAIT_SECONDS: Final = 0.1
"""A lost client appears to have half-closed first; its cancellation follows within this time."""


class InFlightCalls:
    """Counts the calls in flight. drained: set while there is none."""

    def __init__(self) -> None:
        self._count = 0
        self.drained = asyncio.Event()
        self.drained.set()

    @contextmanager
    def track_call(self) -> Generator[None]:
        """Count one call while the context lasts."""
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
    """Make the handler of a service.

    For each method of the contract `servicer` has one in snake case. It takes a request, or an
    iterator over requests, and the caller; it returns a response, or yields responses.
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
    factories: dict[tuple[bool, bool], Any] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    serve = partial(
        _serve_stream if is_server_streaming else _serve_unary, method, behavior, gateway, calls
    )

    async def handle(sent: Any, context: Any) -> Any:
        return await serve(sent, context)

    create = factories[is_client_streaming, is_server_streaming]
    return create(handle, response_serializer=_serialize)


def _serialize(response: Any) -> bytes:
    return response.SerializeToString()


def _parse_request(method: RpcMethod, data: bytes) -> Any:
    """Parse a request; raises RequestInvalid."""
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
    """Return the request, or an iterator over the requests of the stream."""
    if method.descriptor.client_streaming:
        return _parse_request_stream(method, received)
    request = _parse_request(method, received)
    call.job_id = getattr(request, "job_id", "")
    return request


async def _parse_request_stream(
    method: RpcMethod, received: AsyncIterator[bytes]
) -> AsyncGenerator[Any]:
    """Yield requests until the client half-closes.

    gRPC ends the requests of a lost client too, and then cancels the call: the wait at the end
    lets the cancellation arrive first. Raises: RequestInvalid.
    """
    async for each in received:
        yield _parse_request(method, each)
    await asyncio.sleep(CANCELLATION_WAIT_SECONDS)
