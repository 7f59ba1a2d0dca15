"""The REST application: routes, errors and middleware around one gateway."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from fastapi import FastAPI

from service.gateway.context import GatewayContext
from service.gateway.rest import (
    docs_page,
    health,
    job_events,
    jobs,
    models,
    results,
    submission,
    websocket,
)
from service.gateway.rest.browser_policy import (
    AllowedOriginsMiddleware,
    BrowserPolicy,
    BrowserPolicyMiddleware,
)
from service.gateway.rest.middleware import (
    AuditMiddleware,
    LingeringCloseMiddleware,
    RequestMiddleware,
    UploadRateMiddleware,
)
from service.gateway.rest.openapi import finish_openapi
from service.gateway.rest.problems import add_error_handlers
from service.gateway.rest.security_headers import SecurityHeadersMiddleware

DESCRIPTION: Final = """Valence and arousal for every frame of a clip, from face and voice.

`POST /v1/jobs` a clip, poll its `Location` until the state is `succeeded`, fetch `result`.
Every error is an RFC 9457 problem with a stable `code`; `X-Trace-Id` identifies each exchange.
"""

CORS_HEADERS: Final = (
    *("Location", "Link", "Retry-After", "WWW-Authenticate", "X-Trace-Id"),
    *("Preference-Applied", "Idempotency-Replayed", "Content-Disposition"),
)
"""Response headers that pages of allowed origins may read."""


def create_app(gateway: GatewayContext) -> FastAPI:
    """Build the ASGI application of `gateway`; it opens and closes no resources itself."""
    app = FastAPI(
        title="Circumplex",
        version=version("circumplex"),
        description=DESCRIPTION,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    requires_keys = gateway.authenticator.requires_keys
    policy = BrowserPolicy(gateway.settings, requires_keys=requires_keys)
    app.state.gateway = gateway
    app.state.browser_policy = policy
    for module in (
        *(submission, jobs, job_events, results, models),
        *(health, docs_page, websocket),
    ):
        app.include_router(module.router)
    add_error_handlers(app)
    app.add_middleware(AuditMiddleware, audit=gateway.audit_log)
    _add_cors(app, policy)
    app.add_middleware(BrowserPolicyMiddleware, policy=policy)
    app.add_middleware(RequestMiddleware, metrics=gateway.metrics)
    app.add_middleware(UploadRateMiddleware, settings=gateway.settings, shutdown=gateway.shutdown)
    app.add_middleware(LingeringCloseMiddleware)
    app.add_middleware(SecurityHeadersMiddleware)
    finish_openapi(app, requires_keys=requires_keys)
    return app


def _add_cors(app: FastAPI, policy: BrowserPolicy) -> None:
    """Let pages of allowed origins read responses; others have been refused before."""
    if policy.allowed_origins:
        app.add_middleware(
            AllowedOriginsMiddleware,
            allow_origins=sorted(policy.allowed_origins),
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=["*"],
            allow_private_network=True,  # the gateway's address may be one
            expose_headers=CORS_HEADERS,
        )
