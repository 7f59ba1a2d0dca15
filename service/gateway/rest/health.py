"""Routes for liveness, readiness and metrics."""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.errors import GatewayDraining, HostRefused, OriginRefused, QueueUnavailable
from service.gateway.lifecycle import ShutdownPhase
from service.gateway.readiness import (
    DEPENDENCY_ERRORS,
    describe_unready,
    probe_dependencies,
    probe_models,
)
from service.gateway.rest.dependencies import GatewayDep
from service.gateway.rest.openapi import problem_docs
from service.gateway.rest.problems import problem_response
from service.gateway.rest.schemas import Liveness, Readiness

LIVENESS_PATH: Final = "/health/live"
READINESS_PATH: Final = "/health/ready"
METRICS_PATH: Final = "/metrics"

router = APIRouter(tags=["operations"])


@router.get(
    LIVENESS_PATH,
    summary="Liveness",
    responses=problem_docs(LIVENESS_PATH, HostRefused, OriginRefused),
)
async def get_live() -> Liveness:
    """Returns 200 always; a process that does not respond should be restarted."""
    return Liveness(status="live")


@router.get(
    READINESS_PATH,
    summary="Readiness",
    response_model=Readiness,
    responses=problem_docs(
        READINESS_PATH, *DEPENDENCY_ERRORS.values(), GatewayDraining, HostRefused, OriginRefused
    ),
)
async def get_ready(request: Request, gateway: GatewayDep) -> Response:
    """Returns 200 if every part is ready, 503 if one is away; `parts` lists the status of each.

    `triton` is ready if it can be reached and the default model can be used; `models` has the
    others. 503 as well as soon as the gateway drains.
    """
    if gateway.shutdown.has_reached(ShutdownPhase.ANNOUNCED):
        raise GatewayDraining
    models, statuses = await asyncio.gather(probe_models(gateway), probe_dependencies(gateway))
    away = [name for name, status in statuses.items() if status == "away"]
    if not away:
        ready = Readiness(status="ready", parts=statuses, models=models)
        return JSONResponse(ready.model_dump())
    detail = "; ".join((f"away: {', '.join(away)}", *describe_unready(models)))
    error = DEPENDENCY_ERRORS[away[0]](detail)
    return problem_response(request, error, extensions={"parts": statuses, "models": models})


@router.get(
    METRICS_PATH,
    summary="Prometheus metrics",
    response_class=Response,
    responses=problem_docs(METRICS_PATH, HostRefused, OriginRefused),
)
async def get_metrics(gateway: GatewayDep) -> Response:
    """Returns every metric of this process and the current backlog of the queue."""
    try:
        backlog = await gateway.job_queue.measure_backlog()
        gateway.metrics.set_backlog(
            depth=backlog.depth, oldest_age_seconds=backlog.oldest_age_seconds
        )
    except QueueUnavailable:
        gateway.metrics.clear_backlog()
    return Response(generate_latest(gateway.metrics.registry), media_type=CONTENT_TYPE_LATEST)
