"""The REST application: routes, errors and middleware around one gateway."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from fastapi import FastAPI

from service.gateway.context import GatewayContext
from service.gateway.rest import health, job_events, jobs, results, submission, websocket
from service.gateway.rest.middleware import (
    AuditMiddleware,
    LingeringCloseMiddleware,
    RequestMiddleware,
    UploadRateMiddleware,
)
from service.gateway.rest.openapi import finish_openapi
from service.gateway.rest.problems import add_error_handlers

DESCRIPTION: Final = """Valence and arousal for every frame of a clip, from face and voice.

`POST /v1/jobs` a clip, poll its `Location` until the state is `succeeded`, fetch `result`.
Every error is an RFC 9457 problem with a stable `code`; `X-Trace-Id` identifies each exchange.
"""


def create_app(gateway: GatewayContext) -> FastAPI:
    """Build the ASGI application of `gateway`; it opens and closes no resources itself."""
    app = FastAPI(
        title="Circumplex",
        version=version("circumplex"),
        description=DESCRIPTION,
        redirect_slashes=False,
        redoc_url=None,
    )
    app.state.gateway = gateway
    for module in (submission, jobs, job_events, results, health, websocket):
        app.include_router(module.router)
    add_error_handlers(app)
    app.add_middleware(AuditMiddleware, audit=gateway.audit_log)
    app.add_middleware(RequestMiddleware, metrics=gateway.metrics)
    app.add_middleware(UploadRateMiddleware, settings=gateway.settings, shutdown=gateway.shutdown)
    app.add_middleware(LingeringCloseMiddleware)
    finish_openapi(app, requires_keys=gateway.authenticator.requires_keys)
    return app
