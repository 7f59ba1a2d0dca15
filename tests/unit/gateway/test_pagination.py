from __future__ import annotations

import re

import pytest

from service.gateway.use_cases.pagination import (
    CURSOR_PATTERN,
    decode_page_token,
    encode_page_token,
)


@pytest.mark.parametrize("before", ["1795404618.214775", "1795404618.000001", "0.000000"])
def test_page_token_round_trips(before: str) -> None:
    token = encode_page_token(before)

    assert re.fullmatch(CURSOR_PATTERN, token)
    assert before == decode_page_token(token)


@pytest.mark.parametrize("token", ["0" * 16, "f" * 16, "0123456789abcdef"])
def test_every_well_formed_page_token_is_valid(token: str) -> None:
    assert token == encode_page_token(decode_page_token(token))
