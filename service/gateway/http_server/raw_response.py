"""Answers to those who never get as far as the application."""

from __future__ import annotations

import json
import secrets
from http import HTTPStatus
from math import ceil

from service.errors import RETRY_SECONDS, CircumplexError
from service.gateway.rest.problems import PROBLEM_MEDIA_TYPE, problem_details


def raw_error_response(error: CircumplexError) -> bytes:
    """A whole HTTP/1.1 response that closes its connection."""
    trace_id = secrets.token_hex(16)
    body = json.dumps({**problem_details(error, "/"), "trace_id": trace_id}).encode()
    headers = {
        "content-type": PROBLEM_MEDIA_TYPE,
        "content-length": str(len(body)),
        "connection": "close",
        "x-trace-id": trace_id,
    }
    if error.retryable:
        headers["retry-after"] = str(ceil(error.retry_seconds or RETRY_SECONDS))
    status = f"HTTP/1.1 {error.http_status} {HTTPStatus(error.http_status).phrase}"
    lines = (status, *(f"{name}: {value}" for name, value in headers.items()), "", "")
    return "\r\n".join(lines).encode() + body
