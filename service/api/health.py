"""Whether the gateway lives, whether it is of use, and its metrics."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.api.documents import problems_of
from service.api.gateway import GatewayOfApp
from service.api.problems import answer
from service.api.schemas import Live, Ready
from service.errors import GatewayDraining, QueueUnavailable
from service.office.readiness import PARTS, probe

LIVE_PATH: Final = "/health/live"
READY_PATH: Final = "/health/ready"

router = APIRouter(tags=["operations"])


@router.get(LIVE_PATH, summary="Does the process answer?")
async def get_live() -> Live:
    """Always 200: restart the process when this does not answer."""
    return Live(status="live")


@router.get(
    READY_PATH,
    summary="Can jobs be served now?",
    response_model=Ready,
    responses=problems_of(READY_PATH, *PARTS.values(), GatewayDraining),
)
async def get_ready(request: Request, gateway: GatewayOfApp) -> Response:
    """200 when every part is ready, 503 when one is away; `parts` names each in both cases.

    503 as well, at once, when the gateway was told to stop.
    """
    if gateway.drain.announced.is_set():
        raise GatewayDraining
    conditions = await probe(gateway)
    away = [name for name, condition in conditions.items() if condition == "away"]
    if not away:
        return JSONResponse(Ready(status="ready", parts=conditions).model_dump())
    error = PARTS[away[0]](f"away: {', '.join(away)}")
    return answer(request, error, extensions={"parts": conditions})


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def get_metrics(gateway: GatewayOfApp) -> Response:
    """Every metric of this process, and the queue's backlog as of now."""
    try:
        backlog = await gateway.desk.backlog()
        gateway.metrics.show_backlog(
            depth=backlog.depth, oldest_age_seconds=backlog.oldest_age_seconds
        )
    except QueueUnavailable:
        gateway.metrics.forget_backlog()
    return Response(generate_latest(gateway.metrics.registry), media_type=CONTENT_TYPE_LATEST)
