from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from service.telemetry.logs import TRACE_ID, configure_logs


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_json_line_carries_trace_and_extra_fields(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs("info", "json")
    token = TRACE_ID.set("a" * 32)
    logging.getLogger("room").info("said %s", "this", extra={"job_id": "7"})
    TRACE_ID.reset(token)

    line = json.loads(capsys.readouterr().err)
    assert (line["message"], line["level"], line["logger"]) == ("said this", "INFO", "room")
    assert (line["trace_id"], line["job_id"]) == ("a" * 32, "7")


def test_a_text_line_is_for_reading(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("warning", "text")
    logging.getLogger("room").info("too low to be said")
    logging.getLogger("room").warning("said")

    err = capsys.readouterr().err
    assert err.endswith("WARNING room [-] said\n")
    assert err.count("\n") == 1
