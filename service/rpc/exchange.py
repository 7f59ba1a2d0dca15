"""Around every call: who calls, its trace id, its duration, its lines in the logs, its errors."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import unquote

import grpc

from service.access.audit import INTERRUPTED, OK, REFUSED, Deed
from service.access.credential import one_credential
from service.domain.caller import Caller
from service.errors import (
    AnswerStalled,
    CircumplexError,
    GatewayDraining,
    InternalError,
    ServiceError,
)
from service.jobs.record import is_job_id
from service.office.gateway import Gateway
from service.rpc.methods import Method
from service.rpc.refusals import refusal_of
from service.telemetry.logs import TRACE_ID, trace_id_of

TRACE_KEY: Final = "x-trace-id"

log = logging.getLogger(__name__)
T = TypeVar("T")


class Exchange:
    """One call, from its metadata to its status."""

    def __init__(self, method: Method, gateway: Gateway, context: Any) -> None:
        self._method = method
        self._gateway = gateway
        self._context = context
        self._caller: Caller | None = None
        self._error: CircumplexError | None = None
        self._status: grpc.StatusCode | None = None
        self._has_begun = False
        self.job_id = ""

    async def serve(self, answer: Callable[[Caller], Awaitable[T]]) -> T:
        """What `answer` gives to whoever calls; an error of ours ends the call with its status."""
        TRACE_ID.set(trace_id_of(self._metadata("traceparent", "")))
        self._context.set_trailing_metadata(self._trace)
        started = time.perf_counter()
        try:
            answered = await answer(await self._admit())
            self._status = grpc.StatusCode.OK
            return answered
        except CircumplexError as error:
            self._error = error
        except asyncio.CancelledError:
            self._status = self._end_of_client()
            raise
        except Exception as error:
            self._error = InternalError()
            self._error.__cause__ = error
        finally:
            self._write_down(time.perf_counter() - started)
        return await self._refuse(self._error)

    async def begin(self) -> None:
        """Say what goes before the first response; nothing does before an error."""
        if not self._has_begun:
            self._has_begun = True
            await self._context.send_initial_metadata(self._trace)

    async def send(self, response: object) -> None:
        """Send one response; the next one is not made before the client has room for it.

        Raises: AnswerStalled.
        """
        await self.begin()
        patience = self._gateway.settings.response_stall_seconds
        try:
            async with asyncio.timeout(patience):
                await self._context.write(response)
        except TimeoutError as error:
            raise AnswerStalled(f"nothing was taken for {patience:g} s") from error

    @property
    def _trace(self) -> tuple[tuple[str, str], ...]:
        return ((TRACE_KEY, TRACE_ID.get()),)

    async def _admit(self) -> Caller:
        if self._gateway.drain.closing.is_set():
            raise GatewayDraining
        caller = await self._gateway.gate.identify(self._credential())
        self._caller = caller
        await self._gateway.gate.admit(caller, self._method.scope)
        return caller

    def _credential(self) -> str | None:
        return one_credential(self._values("x-api-key"), self._values("authorization"))

    def _metadata(self, key: str, default: str) -> str:
        return next(iter(self._values(key)), default)

    def _values(self, key: str) -> list[str]:
        brought = self._context.invocation_metadata() or ()
        return [value for name, value in brought if name == key]

    async def _refuse(self, error: CircumplexError) -> NoReturn:
        """End the call with the error's status; waits for a client that has not taken the rest."""
        refusal = refusal_of(error)
        metadata = (*self._trace, *refusal.metadata)
        await self._context.abort(refusal.code, refusal.message, metadata)
        raise AssertionError("abort raises")

    def _end_of_client(self) -> grpc.StatusCode:
        left = self._context.time_remaining()
        is_late = left is not None and left <= 0
        return grpc.StatusCode.DEADLINE_EXCEEDED if is_late else grpc.StatusCode.CANCELLED

    def _write_down(self, seconds: float) -> None:
        """Say what became of the call, before the client hears it."""
        name, error = self._method.name, self._error
        if isinstance(error, InternalError):
            log.error("%s: a defect", name, exc_info=error)
        elif isinstance(error, ServiceError):
            log.warning("%s: %s: %s", name, error.code, error.detail)
        told = self._status or grpc.StatusCode.UNKNOWN
        status = told.name if error is None else error.grpc_status
        self._gateway.metrics.grpc_request_duration_seconds.labels(name, status).observe(seconds)
        log.info("%s %s %.1f ms", name, status, 1000 * seconds)
        is_refused = error is not None and error.http_status in REFUSED
        if self._method.is_audited or is_refused:
            self._gateway.audit.write(self._deed(is_refused=is_refused))

    def _deed(self, *, is_refused: bool) -> Deed:
        outcome = OK if self._status is grpc.StatusCode.OK else INTERRUPTED
        return Deed(
            action=self._method.action,
            outcome=outcome if self._error is None else self._error.code,
            key_id=self._caller.owner if self._caller else None,
            key_name=self._caller.name if self._caller else None,
            job_id=self.job_id if is_job_id(self.job_id) else None,
            client=address_of(self._context.peer()),
            detail=self._error.detail if self._error and is_refused else None,
        )


def address_of(peer: str) -> str | None:
    """The address in what gRPC calls a peer: `ipv4:127.0.0.1:51762`, `ipv6:[::1]:51762`."""
    kind, _, place = unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return None
    return place.rpartition(":")[0].strip("[]")
