"""Logging to standard error, as text or as JSON lines, each record with its trace id.

The outage of a part of the service is expected: it is logged as one warning. Tracebacks are
reserved for defects. No record holds an API key, a bearer token or a password of a URL, whoever
logged it.
"""

from __future__ import annotations

import logging
import re
import secrets
import textwrap
from contextvars import ContextVar
from types import TracebackType
from typing import Final, Literal

from pythonjsonlogger.json import JsonFormatter

from service.errors import InternalError, ServiceError
from service.telemetry.redaction import redact

TRACE_ID: Final[ContextVar[str]] = ContextVar("trace_id", default="-")
"""The W3C trace id of the current request or job."""

TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
TEXT_FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s [%(trace_id)s] %(message)s"
JSON_FIELDS: Final = "%(asctime)s %(levelname)s %(name)s %(trace_id)s %(message)s"
QUIET_LOGGERS: Final = ("httpx", "httpcore", "python_multipart", "uvicorn.access")
"""Libraries that log each message they handle; only their warnings are logged."""

SERVICE_LOGGER: Final = "service"
AUDIT_LOGGER: Final = "circumplex.audit"
"""The logger of the audit log, whose records are logged at any level."""
OUTAGE_ERROR_NAMES: Final = frozenset({"ConnectionError", "TimeoutError"})
"""Errors of libraries that mean that a server is unavailable."""
_CONTROL_CODES: Final = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)
_BIDI_CODES: Final = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
ESCAPES: Final = {code: ascii(chr(code))[1:-1] for code in (*_CONTROL_CODES, *_BIDI_CODES)}
"""Escapes of characters that end a line, control a terminal or reverse text."""
TRACEBACK_ESCAPES: Final = {code: text for code, text in ESCAPES.items() if code != ord("\n")}

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def trace_id_of(traceparent: str) -> str:
    """The trace id of a W3C traceparent, or a new one."""
    found = TRACEPARENT.fullmatch(traceparent)
    if found is None or set(found[1]) == {"0"}:
        return secrets.token_hex(16)
    return found[1]


def configure_logs(level: str, format: Literal["text", "json"]) -> None:  # noqa: A002 - the setting's name
    """Send every log record of this process to standard error; replaces what was configured."""
    handler = logging.StreamHandler()
    handler.addFilter(_add_trace_id)
    handler.addFilter(_shorten_outage)
    handler.addFilter(_withhold_metadata)
    handler.setFormatter(_json_formatter() if format == "json" else TextFormatter(TEXT_FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger(AUDIT_LOGGER).setLevel(logging.INFO)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


class TextFormatter(logging.Formatter):
    """Formatter of one line per record, followed by an indented traceback, if any."""

    def format(self, record: logging.LogRecord) -> str:
        """The record without secrets."""
        return redact(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - overrides
        """The line, with control characters escaped."""
        return super().formatMessage(record).translate(ESCAPES)

    def formatException(self, ei: ExcInfo | tuple[None, None, None]) -> str:  # noqa: N802 - overrides
        """The traceback, indented so that no line of it looks like a record."""
        return textwrap.indent(super().formatException(ei).translate(TRACEBACK_ESCAPES), "  ")


def _add_trace_id(record: logging.LogRecord) -> bool:
    record.trace_id = TRACE_ID.get()
    return True


def _shorten_outage(record: logging.LogRecord) -> bool:
    """Turn a record with the traceback of an outage into a warning of one line."""
    error = record.exc_info[1] if record.exc_info else None
    outage = _find_outage(error, is_ours=record.name.split(".")[0] == SERVICE_LOGGER)
    if outage is None:
        return True
    record.msg = f"{record.getMessage()}: {type(outage).__name__}: {outage}"
    record.args = record.exc_info = record.exc_text = None
    record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
    return record.levelno >= logging.getLogger().level


def _withhold_metadata(record: logging.LogRecord) -> bool:
    """Drop the value that grpcio logs when metadata are not UTF-8: it may be a key."""
    if record.name.startswith("grpc") and str(record.msg).startswith("Invalid encoding on"):
        record.msg, record.args = "a client sent metadata that are not UTF-8", None
        record.exc_info = record.exc_text = None
    return True


def _find_outage(error: BaseException | None, *, is_ours: bool) -> BaseException | None:
    """The outage among an error and its causes.

    Records of the service count only if the error is a ServiceError.
    """
    while error is not None and not isinstance(error, InternalError):
        names = {each.__name__ for each in type(error).__mro__}
        if isinstance(error, ServiceError) or (not is_ours and names & OUTAGE_ERROR_NAMES):
            return error
        error = error.__cause__
    return None


class _RedactingJsonFormatter(JsonFormatter):
    def format(self, record: logging.LogRecord) -> str:
        """The record without secrets."""
        return redact(super().format(record))


def _json_formatter() -> logging.Formatter:
    return _RedactingJsonFormatter(
        JSON_FIELDS, rename_fields={"asctime": "time", "levelname": "level", "name": "logger"}
    )
