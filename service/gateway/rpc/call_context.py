"""Context of every call: method, authorisation, trace id, duration, logs, audit entry and errors.

The methods are those of the wire contract, which server reflection publishes.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeVar

import grpc
from circumplex.v1 import annotation_pb2, jobs_pb2, models_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from service.auth.api_key import parse_credential
from service.auth.audit_log import INTERRUPTED, OK, REFUSAL_STATUSES, AuditEntry
from service.domain.caller import Caller, Scope, address_id
from service.errors import (
    CircumplexError,
    GatewayDraining,
    InternalError,
    ResponseStalled,
    ServiceError,
)
from service.gateway.context import GatewayContext
from service.gateway.lifecycle import ShutdownPhase
from service.gateway.rpc.call_limits import LOCAL_CLIENT, CallLimits, parse_peer_address
from service.gateway.rpc.status import status_of
from service.jobs.record import is_job_id
from service.telemetry.logs import TRACE_ID, trace_id_of

ANNOTATION_SERVICE: Final[ServiceDescriptor] = annotation_pb2.DESCRIPTOR.services_by_name[
    "AnnotationService"
]
JOB_SERVICE: Final[ServiceDescriptor] = jobs_pb2.DESCRIPTOR.services_by_name["JobService"]
MODEL_SERVICE: Final[ServiceDescriptor] = models_pb2.DESCRIPTOR.services_by_name["ModelService"]
READ_ACTIONS: Final = frozenset(
    {"get_job", "list_jobs", "watch_job", "get_result", "list_models", "get_model"}
)
"""Actions that change nothing, which the scope `read` allows."""
AUDITED_READ_ACTIONS: Final = frozenset({"get_result"})
"""Read actions that the audit log records all the same."""
TRACE_METADATA_KEY: Final = "x-trace-id"
log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcMethod:
    """One method. name: as in metrics. action: as REST calls the same operation."""

    name: str
    action: str
    descriptor: MethodDescriptor

    @property
    def scope(self) -> Scope:
        """Scope that the caller's key needs."""
        return Scope.READ if self.action in READ_ACTIONS else Scope.SUBMIT

    @property
    def is_audited(self) -> bool:
        """True if the audit log records every call, not only refused ones."""
        return self.action not in READ_ACTIONS or self.action in AUDITED_READ_ACTIONS

    @property
    def request_class(self) -> Any:
        """Message class of the requests."""
        return GetMessageClass(self.descriptor.input_type)


def list_methods(service: ServiceDescriptor) -> Iterator[RpcMethod]:
    """Yield all methods of a service."""
    for descriptor in service.methods:
        yield RpcMethod(
            name=f"{service.full_name}/{descriptor.name}",
            action=re.sub(r"(?<!^)(?=[A-Z])", "_", descriptor.name).lower(),
            descriptor=descriptor,
        )


class CallContext:
    """One call, from its metadata to its status."""

    def __init__(
        self, method: RpcMethod, gateway: GatewayContext, limits: CallLimits, context: Any
    ) -> None:
        self._method = method
        self._gateway = gateway
        self._limits = limits
        self._context = context
        self._address = parse_peer_address(context.peer())
        self._caller: Caller | None = None
        self._error: CircumplexError | None = None
        self._status: grpc.StatusCode | None = None
        self._has_sent_metadata = False
        self.job_id = ""

    async def serve(self, handler: Callable[[Caller], Awaitable[T]]) -> T:
        """Run `handler` for the authorised caller; an error ends the call with its status.

        No message has been read before: a call without a key, or too many, costs none.
        """
        TRACE_ID.set(trace_id_of(self._metadata_value("traceparent", "")))
        self._context.set_trailing_metadata(self._trace_metadata)
        started = time.perf_counter()
        try:
            with self._limits.call_of_address(address_id(self._address) or LOCAL_CLIENT):
                caller = await self._authorize()
                with self._limits.call_of_key(caller):
                    result = await handler(caller)
            self._status = grpc.StatusCode.OK
            return result
        except CircumplexError as error:
            self._error = error
        except asyncio.CancelledError:
            self._status = self._cancelled_status()
            raise
        except Exception as error:
            self._error = InternalError()
            self._error.__cause__ = error
        finally:
            self._record_outcome(time.perf_counter() - started)
        return await self._abort(self._error)

    async def send_initial_metadata(self) -> None:
        """Send the initial metadata once, before the first response; never before an error."""
        if not self._has_sent_metadata:
            self._has_sent_metadata = True
            await self._context.send_initial_metadata(self._trace_metadata)

    async def send(self, response: object) -> None:
        """Send one response, and wait until the client has room for the next.

        Raises: ResponseStalled.
        """
        await self.send_initial_metadata()
        stall_seconds = self._gateway.settings.response_stall_seconds
        try:
            async with asyncio.timeout(stall_seconds):
                await self._context.write(response)
        except TimeoutError as error:
            raise ResponseStalled(f"nothing was taken for {stall_seconds:g} s") from error

    @property
    def _trace_metadata(self) -> tuple[tuple[str, str], ...]:
        return ((TRACE_METADATA_KEY, TRACE_ID.get()),)

    async def _authorize(self) -> Caller:
        if self._gateway.shutdown.has_reached(ShutdownPhase.CLOSING):
            raise GatewayDraining
        caller = await self._gateway.authenticator.identify(self._credential(), self._address)
        self._caller = caller
        await self._gateway.authenticator.authorize(caller, self._method.scope)
        return caller

    def _credential(self) -> str | None:
        return parse_credential(
            self._metadata_values("x-api-key"), self._metadata_values("authorization")
        )

    def _metadata_value(self, key: str, default: str) -> str:
        return next(iter(self._metadata_values(key)), default)

    def _metadata_values(self, key: str) -> list[str]:
        metadata = self._context.invocation_metadata() or ()
        return [value for name, value in metadata if name == key]

    async def _abort(self, error: CircumplexError) -> NoReturn:
        """End the call with the error's status, once the client has read earlier responses."""
        status = status_of(error)
        metadata = (*self._trace_metadata, *status.metadata)
        await self._context.abort(status.code, status.message, metadata)
        raise AssertionError("abort raises")

    def _cancelled_status(self) -> grpc.StatusCode:
        remaining = self._context.time_remaining()
        is_past_deadline = remaining is not None and remaining <= 0
        return grpc.StatusCode.DEADLINE_EXCEEDED if is_past_deadline else grpc.StatusCode.CANCELLED

    def _record_outcome(self, seconds: float) -> None:
        """Log, measure and audit the outcome, before the client receives it."""
        name, error = self._method.name, self._error
        if isinstance(error, InternalError):
            log.error("%s: unexpected error", name, exc_info=error)
        elif isinstance(error, ServiceError):
            log.warning("%s: %s: %s", name, error.code, error.detail)
        final_status = self._status or grpc.StatusCode.UNKNOWN
        status = final_status.name if error is None else error.grpc_status
        self._gateway.metrics.grpc_request_duration_seconds.labels(name, status).observe(seconds)
        log.info("%s %s %.1f ms", name, status, 1000 * seconds)
        is_refused = error is not None and error.http_status in REFUSAL_STATUSES
        if self._method.is_audited or is_refused:
            self._gateway.audit_log.write(self._audit_entry(is_refused=is_refused))

    def _audit_entry(self, *, is_refused: bool) -> AuditEntry:
        outcome = OK if self._status is grpc.StatusCode.OK else INTERRUPTED
        return AuditEntry(
            action=self._method.action,
            outcome=outcome if self._error is None else self._error.code,
            key_id=self._caller.owner if self._caller else None,
            key_name=self._caller.name if self._caller else None,
            job_id=self.job_id if is_job_id(self.job_id) else None,
            client=self._address,
            detail=self._error.detail if self._error and is_refused else None,
        )
