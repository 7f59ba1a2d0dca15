from __future__ import annotations

import re

import pytest

from service.office.paging import PLACE, place_of, token_of


@pytest.mark.parametrize("before", ["1795404618.214775", "1795404618.000001", "0.000000"])
def test_a_token_leads_back_to_its_place(before: str) -> None:
    token = token_of(before)

    assert re.fullmatch(PLACE, token)
    assert before == place_of(token)


@pytest.mark.parametrize("token", ["0" * 16, "f" * 16, "0123456789abcdef"])
def test_every_token_is_a_place_in_time(token: str) -> None:
    assert token == token_of(place_of(token))
