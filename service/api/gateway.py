"""What the routes work with: one frozen set of collaborators, handed in by wiring."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from service.access.audit import Audit
from service.access.gate import Gate
from service.api.drain import Drain
from service.api.watchers import Watchers
from service.domain.ports import Store
from service.jobs.desk import Desk
from service.settings import Settings
from service.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """The collaborators of the REST routes."""

    settings: Settings
    gate: Gate
    store: Store
    desk: Desk
    inference_ready: Callable[[], Awaitable[bool]]
    metrics: Metrics
    audit: Audit = field(default_factory=Audit)
    watchers: Watchers = field(default_factory=Watchers)
    drain: Drain = field(default_factory=Drain)


def _gateway_of(request: Request) -> Gateway:
    return request.app.state.gateway


GatewayOfApp = Annotated[Gateway, Depends(_gateway_of)]
"""How a route asks for the gateway."""
