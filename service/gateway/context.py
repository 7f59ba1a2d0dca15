"""Collaborators of the gateway's routes and RPC methods, as one frozen object made in wiring."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from service.auth.audit_log import AuditLog
from service.auth.authenticator import Authenticator
from service.domain.caller import Caller
from service.domain.ports import BlobStore
from service.gateway.lifecycle import ShutdownState, SubscriberLimiter, drive_shutdown
from service.gateway.model_listing import ModelListing
from service.gateway.storage_quota import PendingUploads
from service.jobs.queue.job_queue import JobQueue
from service.pipeline.estimators import EstimatorCatalog
from service.settings import Settings
from service.streaming.config import StreamRequest
from service.streaming.events import StreamEvent
from service.telemetry.metrics import Metrics


class StreamService(Protocol):
    """Annotates live streams."""

    def annotate(
        self, requests: AsyncIterator[StreamRequest], caller: Caller
    ) -> AsyncGenerator[StreamEvent]:
        """Annotate one stream; raises CircumplexError."""
        ...

    def drain(self) -> None:
        """Refuse new streams, and end open ones with a resume token."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayContext:
    """The collaborators of one gateway."""

    settings: Settings
    authenticator: Authenticator
    store: BlobStore
    job_queue: JobQueue
    streams: StreamService
    estimators: EstimatorCatalog
    metrics: Metrics
    audit_log: AuditLog = field(default_factory=AuditLog)
    model_listing: ModelListing = field(default_factory=ModelListing)
    pending_uploads: PendingUploads = field(default_factory=PendingUploads)
    subscriber_limiter: SubscriberLimiter = field(default_factory=SubscriberLimiter)
    shutdown: ShutdownState = field(default_factory=ShutdownState)

    def drive_shutdown(self) -> AbstractAsyncContextManager[None]:
        """Advance the phases of the shutdown while the context lasts; every server needs it."""
        return drive_shutdown(self.shutdown, self.settings, drain_streams=self.streams.drain)
