"""Log lines: formats, outages, tracebacks and escaping of control characters."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from service.errors import (
    InferenceUnavailable,
    InternalError,
    QueueUnavailable,
    StoreUnavailable,
)
from service.telemetry.logs import AUDIT_LOGGER, TRACE_ID, configure_logs


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_line_carries_trace_and_extra_fields(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs("info", "json")
    token = TRACE_ID.set("a" * 32)
    logging.getLogger("faces").info("frame %s done", "7", extra={"job_id": "7"})
    TRACE_ID.reset(token)

    line = json.loads(capsys.readouterr().err)
    assert (line["message"], line["level"], line["logger"]) == ("frame 7 done", "INFO", "faces")
    assert (line["trace_id"], line["job_id"]) == ("a" * 32, "7")


def test_text_line_is_human_readable(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("warning", "text")
    logging.getLogger("faces").info("below the level")
    logging.getLogger("faces").warning("logged")

    err = capsys.readouterr().err
    assert err.endswith("WARNING faces [-] logged\n")
    assert err.count("\n") == 1


def _raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except type(error) as raised:
        return raised


@pytest.mark.parametrize("format", ["text", "json"])
@pytest.mark.parametrize(
    ("logger", "error"),
    [
        ("service.gateway.rest.problems", _raised(QueueUnavailable("Redis is away"))),
        ("asyncio", _raised(InferenceUnavailable("Triton is away"))),
        ("asyncio", _raised(RedisConnectionError("connection refused"))),
        ("uvicorn.error", _raised(RuntimeError("response begun"), StoreUnavailable("disk away"))),
    ],
)
def test_outage_is_logged_as_one_warning(
    capsys: pytest.CaptureFixture[str],
    format: Literal["text", "json"],  # noqa: A002 - as configure_logs
    logger: str,
    error: Exception,
) -> None:
    configure_logs("info", format)
    logging.getLogger(logger).error("could %s", "not", exc_info=error)

    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "WARNING" in err
    assert f"could not: {type(error.__cause__ or error).__name__}: " in err


@pytest.mark.parametrize(
    "error",
    [
        _raised(ZeroDivisionError("defect")),
        _raised(InternalError("defect"), QueueUnavailable()),
        _raised(TimeoutError("untranslated time-out")),
    ],
)
def test_unexpected_error_is_logged_with_its_traceback(
    capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    configure_logs("info", "text")
    logging.getLogger("service.api").error("internal error", exc_info=error)

    err = capsys.readouterr().err
    assert "ERROR" in err
    assert "\n  Traceback (most recent call last):\n" in err


def test_outage_is_not_logged_below_the_log_level(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("error", "text")
    logging.getLogger("service").error("away", exc_info=_raised(QueueUnavailable()))

    assert capsys.readouterr().err == ""


def test_audit_entries_are_logged_at_every_level(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("error", "text")
    logging.getLogger(AUDIT_LOGGER).info("key created")

    assert capsys.readouterr().err.endswith("key created\n")


def test_control_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info", "text")
    logging.getLogger("faces").info("GET /%s 200", "a\nERROR\r\x1b[31m\x00\x85\u2028\u202eü")

    err = capsys.readouterr().err
    assert err.endswith(r"GET /a\nERROR\r\x1b[31m\x00\x85\u2028\u202eü 200" + "\n")
    assert err.count("\n") == 1


def test_traceback_lines_are_indented_and_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info", "text")
    error = _raised(ValueError("first\n2026-01-01 INFO forged\x1b[2J"))
    logging.getLogger("faces").error("internal error", exc_info=error)

    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("  ") for line in lines[1:])
    assert lines[-1] == r"  2026-01-01 INFO forged\x1b[2J"
