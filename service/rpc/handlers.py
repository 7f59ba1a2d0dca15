"""From methods written in our own words to what gRPC calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Any, Final

import grpc
from circumplex.v1.jobs_pb2 import SubmitJobResponse
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError

from service.domain.caller import Caller
from service.errors import RequestInvalid
from service.office.gateway import Gateway
from service.office.welcome import welcome
from service.rpc.calls import Calls
from service.rpc.exchange import Exchange
from service.rpc.methods import Method, methods_of

LOSS_SECONDS: Final = 0.1
"""A client that is lost looks for a moment like one that has sent everything."""


def handler_of(
    service: ServiceDescriptor, servicer: object, gateway: Gateway, calls: Calls
) -> grpc.GenericRpcHandler:
    """A service of the contract. For each method `servicer` has one in snake case, which takes a
    request, or an iterator over requests, and the caller; it returns a response, or yields them.
    """
    handlers: dict[str, Any] = {}
    for method in methods_of(service):
        behave = getattr(servicer, method.action)
        handlers[method.descriptor.name] = _handler(method, behave, gateway, calls)
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _handler(method: Method, behave: Any, gateway: Gateway, calls: Calls) -> Any:
    takes_many = method.descriptor.client_streaming
    gives_many = method.descriptor.server_streaming
    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[takes_many, gives_many]
    serve = partial(_serve_many if gives_many else _serve_one, method, behave, gateway, calls)

    async def called(sent: Any, context: Any) -> Any:
        return await serve(sent, context)

    return make(called, response_serializer=_serialized)


def _serialized(response: Any) -> bytes:
    return response.SerializeToString()


def _read(method: Method, sent: bytes) -> Any:
    """A request; raises RequestInvalid."""
    try:
        return method.request.FromString(sent)
    except DecodeError as error:
        raise RequestInvalid(f"this is no {method.descriptor.input_type.name}") from error


async def _serve_one(
    method: Method, behave: Any, gateway: Gateway, calls: Calls, sent: Any, context: Any
) -> Any:
    exchange = Exchange(method, gateway, context)

    async def answer(caller: Caller) -> Any:
        response = await behave(_requested(method, sent, exchange), caller)
        if isinstance(response, SubmitJobResponse):
            exchange.job_id = response.job.id
        await exchange.begin()
        return response

    with calls.one():
        return await exchange.serve(answer)


async def _serve_many(
    method: Method, behave: Any, gateway: Gateway, calls: Calls, sent: Any, context: Any
) -> None:
    exchange = Exchange(method, gateway, context)

    async def answer(caller: Caller) -> None:
        responses: AsyncGenerator[Any] = behave(_requested(method, sent, exchange), caller)
        async with welcome(gateway.gate, caller), aclosing(responses):
            async for response in responses:
                await exchange.send(response)

    with calls.one():
        await exchange.serve(answer)


def _requested(method: Method, sent: Any, exchange: Exchange) -> Any:
    """The request, or all of them."""
    if method.descriptor.client_streaming:
        return _all_of(method, sent)
    request = _read(method, sent)
    exchange.job_id = getattr(request, "job_id", "")
    return request


async def _all_of(method: Method, sent: AsyncIterator[bytes]) -> AsyncGenerator[Any]:
    """Requests; they end only where the client has said so.

    Of a lost client the library tells that its requests have ended, and then cancels the call.
    Raises: RequestInvalid.
    """
    async for each in sent:
        yield _read(method, each)
    await asyncio.sleep(LOSS_SECONDS)
