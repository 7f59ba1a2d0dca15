from __future__ import annotations

import pytest

from service.gateway.rest.prefer_wait import parse_wait_seconds


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
