"""What every door works with: one frozen set of collaborators, handed in by wiring."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from circumplex.v1 import annotation_pb2 as wire

from service.auth.audit_log import AuditLog
from service.auth.authenticator import Authenticator
from service.domain.caller import Caller
from service.domain.ports import BlobStore
from service.gateway.lifecycle import ShutdownState, SubscriberLimiter
from service.jobs.queue.job_queue import JobQueue
from service.settings import Settings
from service.telemetry.metrics import Metrics


class StreamService(Protocol):
    """Every stream of this gateway."""

    def annotate(
        self, requests: AsyncIterator[wire.StreamingAnnotateRequest], caller: Caller
    ) -> AsyncGenerator[wire.StreamingAnnotateResponse]:
        """Annotate one stream; raises CircumplexError."""
        ...

    def drain(self) -> None:
        """Let no more streams in, and tell those under way to go elsewhere."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayContext:
    """The collaborators of REST's routes and of gRPC's methods."""

    settings: Settings
    authenticator: Authenticator
    store: BlobStore
    job_queue: JobQueue
    streams: StreamService
    is_inference_ready: Callable[[], Awaitable[bool]]
    metrics: Metrics
    audit_log: AuditLog = field(default_factory=AuditLog)
    subscriber_limiter: SubscriberLimiter = field(default_factory=SubscriberLimiter)
    drain: ShutdownState = field(default_factory=ShutdownState)
