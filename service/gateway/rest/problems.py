"""Errors as RFC 9457 problem details, for every route."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from math import ceil
from typing import Any, Final, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.routing import Match

from service.errors import (
    DEFAULT_RETRY_SECONDS,
    CircumplexError,
    InternalError,
    MethodNotAllowed,
    RequestError,
    RequestInvalid,
    RouteUnknown,
    ServiceError,
    Unauthenticated,
    UpgradeRequired,
)
from service.telemetry.logs import TRACE_ID

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
CHALLENGE_HEADERS: Final[Mapping[str, str]] = {"WWW-Authenticate": 'Bearer realm="circumplex"'}
UPGRADE_HEADERS: Final[Mapping[str, str]] = {"Upgrade": "websocket", "Connection": "Upgrade"}

log = logging.getLogger(__name__)


def problem_details(
    error: CircumplexError, instance: str, job_id: str | None = None
) -> dict[str, Any]:
    """The problem object of an error; `type` is a stable URN with the error's code."""
    details: dict[str, Any] = {
        "type": f"urn:circumplex:problem:{error.code}",
        "title": error.title(),
        "status": error.http_status,
        "detail": error.detail,
        "instance": instance,
        "code": error.code,
        "retryable": error.retryable,
        "trace_id": TRACE_ID.get(),
    }
    return details if job_id is None else {**details, "job_id": job_id}


def problem_response(
    request: HTTPConnection,
    error: CircumplexError,
    *,
    headers: Mapping[str, str] | None = None,
    extensions: Mapping[str, Any] | None = None,
) -> JSONResponse:
    """The response to `request` for an error."""
    request.state.problem = error
    body = problem_details(error, request.url.path, request.path_params.get("job_id"))
    seconds = ceil(error.retry_seconds or DEFAULT_RETRY_SECONDS)
    retry = {"Retry-After": str(seconds)} if error.retryable else {}
    challenge = CHALLENGE_HEADERS if isinstance(error, Unauthenticated) else {}
    upgrade = UPGRADE_HEADERS if isinstance(error, UpgradeRequired) else {}
    return JSONResponse(
        {**body, **(extensions or {})},
        status_code=error.http_status,
        headers={**retry, **challenge, **upgrade, **(headers or {})},
        media_type=PROBLEM_MEDIA_TYPE,
    )


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error of the routes and of the framework with a problem."""
    app.add_exception_handler(CircumplexError, _handle_circumplex_error)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(HTTPException, _handle_http_exception)


async def _handle_circumplex_error(request: Request, error: Exception) -> JSONResponse:
    circumplex_error = cast(CircumplexError, error)
    if isinstance(circumplex_error, InternalError):
        log.error(
            "%s %s: internal error", request.method, request.url.path, exc_info=circumplex_error
        )
    elif isinstance(circumplex_error, ServiceError):
        log.warning(
            "%s %s: %s: %s",
            request.method,
            request.url.path,
            circumplex_error.code,
            circumplex_error.detail,
        )
    return problem_response(request, circumplex_error)


async def _handle_validation_error(request: Request, error: Exception) -> JSONResponse:
    found = cast(RequestValidationError, error).errors()
    detail = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in found)
    return problem_response(request, RequestInvalid(detail))


async def _handle_http_exception(request: Request, error: Exception) -> JSONResponse:
    exception = cast(HTTPException, error)
    headers = dict(exception.headers or {})
    if exception.status_code == MethodNotAllowed.http_status:
        headers["Allow"] = ", ".join(sorted(_allowed_methods(request)))
    return problem_response(
        request, _error_from_http_exception(request, exception, headers), headers=headers
    )


def _allowed_methods(request: Request) -> set[str]:
    """The methods of all routes of a path; the framework reports those of one route only.

    If several path templates match, the longest one applies.
    """
    routes = [
        context
        for context in iter_route_contexts(request.app.routes)
        if context.matches(request.scope)[0] is not Match.NONE
    ]
    matched_path = max((route.path or "" for route in routes), key=len)
    methods = {
        method for route in routes if route.path == matched_path for method in route.methods or ()
    }
    return methods | {"HEAD"} if "GET" in methods else methods  # HEAD: RequestMiddleware


def _error_from_http_exception(
    request: Request, found: HTTPException, headers: Mapping[str, str]
) -> RequestError:
    if found.status_code == RouteUnknown.http_status:
        return RouteUnknown(f"there is no resource at {request.url.path[:200]}")
    if found.status_code == MethodNotAllowed.http_status:
        allowed = headers.get("Allow", "other methods")
        return MethodNotAllowed(f"the path allows {allowed}, not {request.method[:20]}")
    return RequestInvalid(str(found.detail))
