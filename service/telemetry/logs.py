"""Logs on standard error, as text for people or JSON lines for machines, each with its trace id."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Final, Literal

from pythonjsonlogger.json import JsonFormatter

TRACE_ID: Final[ContextVar[str]] = ContextVar("trace_id", default="-")
"""The W3C trace id of the request or job that is being worked on."""

TEXT_FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s [%(trace_id)s] %(message)s"
JSON_FIELDS: Final = "%(asctime)s %(levelname)s %(name)s %(trace_id)s %(message)s"
QUIET: Final = ("docket", "httpx", "httpcore", "python_multipart", "uvicorn.access")
"""Libraries that log each message they handle; only their warnings are of interest."""


def configure_logs(level: str, format: Literal["text", "json"]) -> None:  # noqa: A002
    """Send every log record of this process to standard error; replaces what was configured."""
    handler = logging.StreamHandler()
    handler.addFilter(_add_trace_id)
    handler.setFormatter(_json() if format == "json" else logging.Formatter(TEXT_FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def _add_trace_id(record: logging.LogRecord) -> bool:
    record.trace_id = TRACE_ID.get()
    return True


def _json() -> logging.Formatter:
    return JsonFormatter(
        JSON_FIELDS, rename_fields={"asctime": "time", "levelname": "level", "name": "logger"}
    )
