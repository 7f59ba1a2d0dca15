"""The REST application: routes, errors and middleware around one gateway."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI

from service.gateway.context import GatewayContext
from service.gateway.rest import (
    health,
    idempotency_header,
    job_events,
    jobs,
    results,
    submission,
    websocket,
)
from service.gateway.rest.audit_middleware import AuditMiddleware
from service.gateway.rest.dependencies import make_api_keys_optional
from service.gateway.rest.lingering_close import LingeringCloseMiddleware
from service.gateway.rest.problems import add_error_handlers
from service.gateway.rest.request_middleware import RequestMiddleware
from service.gateway.rest.schemas import JobEvent, Problem
from service.gateway.rest.upload_rate_middleware import UploadRateMiddleware

DESCRIPTION: Final = """Valence and arousal for every frame of a clip, from face and voice.

`POST /v1/jobs` a clip, poll its `Location` until the state is `succeeded`, fetch `result`.
Every error is an RFC 9457 problem with a stable `code`; `X-Trace-Id` names each exchange.
"""


def create_app(gateway: GatewayContext) -> FastAPI:
    """The ASGI application that serves `gateway`; it opens and closes nothing itself."""
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
    app.add_middleware(UploadRateMiddleware, settings=gateway.settings, drain=gateway.drain)
    app.add_middleware(LingeringCloseMiddleware)
    _finish_openapi(app, requires_keys=gateway.authenticator.requires_keys)
    return app


def _finish_openapi(app: FastAPI, *, requires_keys: bool) -> None:
    """Finish the OpenAPI document: the problem schema, and no validation schema of FastAPI's."""
    document: dict[str, Any] = app.openapi()
    schemas: dict[str, Any] = document["components"]["schemas"]
    for model in (Problem, JobEvent):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    document["components"]["parameters"] = {
        "IdempotencyKey": idempotency_header.IDEMPOTENCY_KEY_DOC
    }
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path in document["paths"].values():
        for operation in path.values():
            _drop_validation_responses(operation["responses"])
            for parameter in operation.get("parameters", ()):
                _drop_null_type(parameter["schema"])
    if not requires_keys:
        make_api_keys_optional(document)


def _drop_null_type(schema: dict[str, Any]) -> None:
    """A parameter that is not sent is left out; the text `null` is no value of it."""
    choices = [choice for choice in schema.pop("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        schema |= choices[0]


def _drop_validation_responses(responses: dict[str, Any]) -> None:
    """No route has a parameter that FastAPI could refuse; ours are refused by our own errors."""
    content: dict[str, Any] = responses.get("422", {}).get("content", {})
    content.pop("application/json", None)
    if "422" in responses and not content:
        del responses["422"]
