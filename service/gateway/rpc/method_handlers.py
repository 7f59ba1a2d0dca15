"""Adapters from the servicers' methods to the handlers that gRPC calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any, Final

import grpc
from circumplex.v1.jobs_pb2 import SubmitJobResponse
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError

from service.auth.authenticator import while_authorized
from service.domain.caller import Caller
from service.errors import CircumplexError, RequestInvalid
from service.gateway.context import GatewayContext
from service.gateway.rpc.call_context import CallContext, RpcMethod, list_methods
from service.gateway.rpc.call_limits import CallLimits, connection_of_peer

UPLOAD_ACTION: Final = "submit_job"
"""Action whose calls wait for messages of full size all along: they are limited as a whole."""
LINGER_SECONDS: Final = 0.3
"""Time for which the rest of a refused upload is read."""
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
    service: ServiceDescriptor,
    servicer: object,
    gateway: GatewayContext,
    limits: CallLimits,
    calls: InFlightCalls,
) -> grpc.GenericRpcHandler:
    """Make the handler of a service.

    For each method of the contract `servicer` has one in snake case. It takes a request, or an
    iterator over requests, and the caller; it returns a response, or yields responses.

    Every method is registered as one that streams both ways, which is the same on the wire: gRPC
    reads the request of any other method before the handler can refuse the call.
    """

    def create_method_handler(method: RpcMethod) -> Any:
        behavior = getattr(servicer, method.action)

        async def handle(received: AsyncIterator[bytes], context: Any) -> None:
            call = CallContext(method, gateway, limits, context)
            messages = _MessageSource(method, received, limits)
            with calls.track_call(), limits.connections.in_use(connection_of_peer(context)):
                await call.serve(partial(_respond, method, behavior, gateway, call, messages))

        create: Any = grpc.stream_stream_rpc_method_handler
        return create(handle, response_serializer=_serialize)

    handlers = {
        method.descriptor.name: create_method_handler(method) for method in list_methods(service)
    }
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _serialize(response: Any) -> bytes:
    return response.SerializeToString()


async def _respond(
    method: RpcMethod,
    behavior: Any,
    gateway: GatewayContext,
    call: CallContext,
    messages: _MessageSource,
    caller: Caller,
) -> None:
    """Answer one call, or all requests of its stream."""
    async with messages.limit_uploads(caller):
        if method.descriptor.client_streaming:
            request = messages.read_all(caller)
        else:
            request = await messages.read_one(caller)
            call.job_id = getattr(request, "job_id", "")
        if method.descriptor.server_streaming:
            responses: AsyncGenerator[Any] = behavior(request, caller)
            async with while_authorized(gateway.authenticator, caller), aclosing(responses):
                async for response in responses:
                    await call.send(response)
        else:
            response = await behavior(request, caller)
            if isinstance(response, SubmitJobResponse):
                call.job_id = response.job.id
            await call.send(response)


class _MessageSource:
    """Messages of one call: the first one is read within the limits, and parsed like the others."""

    def __init__(
        self, method: RpcMethod, received: AsyncIterator[bytes], limits: CallLimits
    ) -> None:
        self._method = method
        self._received = received
        self._limits = limits
        self._is_reading = False
        self._is_upload = method.action == UPLOAD_ACTION

    @asynccontextmanager
    async def limit_uploads(self, caller: Caller) -> AsyncGenerator[None]:
        """Hold a slot of uploads while the context lasts, if the call is one.

        What the client still sends after an error is read for a moment: some clients do not see
        the status of a call to which they cannot write. Raises: QuotaExceeded, TooManyCalls.
        """
        if not self._is_upload:
            yield
            return
        async with self._limits.uploads.acquire(caller.client_id):
            try:
                yield
            except CircumplexError:
                await self._discard_rest()
                raise

    async def read_one(self, caller: Caller) -> Any:
        """Read the only request. Raises: RequestInvalid, RequestTooSlow."""
        data = await self._read_first(caller)
        if data is None:
            await asyncio.sleep(CANCELLATION_WAIT_SECONDS)
            raise RequestInvalid("the call has no request")
        return self._parse(data)

    async def read_all(self, caller: Caller) -> AsyncGenerator[Any]:
        """Yield requests until the client half-closes.

        gRPC ends the requests of a lost client too, and then cancels the call: the wait at the end
        lets the cancellation arrive first. Raises: RequestInvalid, RequestTooSlow.
        """
        data = await self._read_first(caller)
        while data is not None:
            yield self._parse(data)
            data = await self._read_next()
        await asyncio.sleep(CANCELLATION_WAIT_SECONDS)

    async def _read_first(self, caller: Caller) -> bytes | None:
        if self._is_upload:  # the number of uploads is limited
            return await self._read_next()
        return await self._limits.first_messages.read(caller.client_id, self._read_next)

    async def _read_next(self) -> bytes | None:
        self._is_reading = True
        data = await anext(aiter(self._received), None)  # the same iterator each time
        self._is_reading = False
        return data

    async def _discard_rest(self) -> None:
        if self._is_reading:
            return  # the client has stopped sending
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while await self._read_next() is not None:
                    continue

    def _parse(self, data: bytes) -> Any:
        try:
            return self._method.request_class.FromString(data)
        except DecodeError as error:
            name = self._method.descriptor.input_type.name
            raise RequestInvalid(f"this is no {name}") from error
