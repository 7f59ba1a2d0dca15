"""Whether the gateway lives, whether it is of use, and its metrics."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.errors import GatewayDraining, QueueUnavailable
from service.gateway.readiness import DEPENDENCY_ERRORS, probe_dependencies
from service.gateway.rest.dependencies import GatewayDep
from service.gateway.rest.openapi import problem_docs
from service.gateway.rest.problems import problem_response
from service.gateway.rest.schemas import Liveness, Readiness

LIVENESS_PATH: Final = "/health/live"
READINESS_PATH: Final = "/health/ready"

router = APIRouter(tags=["operations"])


@router.get(LIVENESS_PATH, summary="Does the process answer?")
async def get_live() -> Liveness:
    """Always 200: restart the process when this does not answer."""
    return Liveness(status="live")


@router.get(
    READINESS_PATH,
    summary="Can jobs be served now?",
    response_model=Readiness,
    responses=problem_docs(READINESS_PATH, *DEPENDENCY_ERRORS.values(), GatewayDraining),
)
async def get_ready(request: Request, gateway: GatewayDep) -> Response:
    """200 when every part is ready, 503 when one is away; `parts` names each in both cases.

    503 as well, at once, when the gateway was told to stop.
    """
    if gateway.drain.announced.is_set():
        raise GatewayDraining
    conditions = await probe_dependencies(gateway)
    away = [name for name, condition in conditions.items() if condition == "away"]
    if not away:
        return JSONResponse(Readiness(status="ready", parts=conditions).model_dump())
    error = DEPENDENCY_ERRORS[away[0]](f"away: {', '.join(away)}")
    return problem_response(request, error, extensions={"parts": conditions})


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def get_metrics(gateway: GatewayDep) -> Response:
    """Every metric of this process, and the queue's backlog as of now."""
    try:
        backlog = await gateway.job_queue.measure_backlog()
        gateway.metrics.set_backlog(
            depth=backlog.depth, oldest_age_seconds=backlog.oldest_age_seconds
        )
    except QueueUnavailable:
        gateway.metrics.clear_backlog()
    return Response(generate_latest(gateway.metrics.registry), media_type=CONTENT_TYPE_LATEST)
