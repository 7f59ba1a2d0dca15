from __future__ import annotations

import pytest

from service.errors import ResultFormatUnknown
from service.gateway.rest.content_negotiation import choose_format


@pytest.mark.parametrize(
    ("wanted", "accept", "expected"),
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
    wanted: str | None, accept: str | None, expected: str
) -> None:
    assert choose_format(wanted, accept).name == expected


@pytest.mark.parametrize(
    ("wanted", "accept"), [("xml", None), ("", None), (None, "image/png"), (None, "*/*;q=0")]
)
def test_a_format_that_is_not_offered_is_refused(wanted: str | None, accept: str | None) -> None:
    with pytest.raises(ResultFormatUnknown):
        choose_format(wanted, accept)
