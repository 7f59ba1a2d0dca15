"""What every door works with: one frozen set of collaborators, handed in by wiring."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from circumplex.v1 import annotation_pb2 as wire

from service.access.audit import Audit
from service.access.gate import Gate
from service.domain.caller import Caller
from service.domain.ports import Store
from service.jobs.desk import Desk
from service.office.drain import Drain
from service.office.watchers import Watchers
from service.settings import Settings
from service.telemetry.metrics import Metrics


class Streams(Protocol):
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
class Gateway:
    """The collaborators of REST's routes and of gRPC's methods."""

    settings: Settings
    gate: Gate
    store: Store
    desk: Desk
    streams: Streams
    inference_ready: Callable[[], Awaitable[bool]]
    metrics: Metrics
    audit: Audit = field(default_factory=Audit)
    watchers: Watchers = field(default_factory=Watchers)
    drain: Drain = field(default_factory=Drain)
