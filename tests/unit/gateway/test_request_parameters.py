"""Parsing of request parameters: result format, wait preference and page token."""

from __future__ import annotations

import re

import pytest

from service.errors import ResultFormatUnknown
from service.gateway.rest.dependencies import parse_wait_seconds
from service.gateway.rest.results import choose_format
from service.gateway.use_cases.jobs import CURSOR_PATTERN, decode_page_token, encode_page_token


@pytest.mark.parametrize(
    ("name", "accept", "expected"),
    [
        (None, None, "json"),
        (None, "", "json"),
        ("csv", "application/json", "csv"),
        (None, "text/csv", "csv"),
        (None, "text/html, application/xhtml+xml, */*;q=0.8", "json"),
        (None, "application/json;q=0, */*", "csv"),
        (None, "TEXT/CSV ; q=1.0", "csv"),
        (None, "application/json;q=nonsense, text/csv;q=0.1", "csv"),
    ],
)
def test_format_parameter_wins_over_accept_header(
    name: str | None, accept: str | None, expected: str
) -> None:
    assert choose_format(name, accept).name == expected


@pytest.mark.parametrize(
    ("name", "accept"), [("xml", None), ("", None), (None, "image/png"), (None, "*/*;q=0")]
)
def test_unavailable_format_is_refused(name: str | None, accept: str | None) -> None:
    with pytest.raises(ResultFormatUnknown):
        choose_format(name, accept)


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        (["wait=10"], 10),
        (["respond-async, wait=10"], 10),
        (["respond-async", "Wait = 10; foo=bar"], 10),
        (['wait="10"'], 10),
        (["wait=10, wait=20"], 10),
        (["wait=0"], 0),
        (["wait"], None),
        (["wait=1.5"], None),
        (["wait=-1"], None),
        (["waits=5"], None),
        ([""], None),
        ([], None),
    ],
)
def test_wait_preference_is_parsed_from_every_header_line(
    lines: list[str], seconds: int | None
) -> None:
    assert seconds == parse_wait_seconds(lines)


@pytest.mark.parametrize("before", ["1795404618.214775", "1795404618.000001", "0.000000"])
def test_page_token_round_trips(before: str) -> None:
    token = encode_page_token(before)

    assert re.fullmatch(CURSOR_PATTERN, token)
    assert before == decode_page_token(token)


@pytest.mark.parametrize("token", ["0" * 16, "f" * 16, "0123456789abcdef"])
def test_every_well_formed_page_token_is_valid(token: str) -> None:
    assert token == encode_page_token(decode_page_token(token))
