from __future__ import annotations

import pytest

from service.access.gate import asks_for_keys
from service.errors import AccessUndecided
from service.settings import Settings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_on_this_machine_alone_nobody_is_asked_unless_that_is_wanted(host: str) -> None:
    assert asks_for_keys(Settings(host=host)) is False
    assert asks_for_keys(Settings(host=host, access="keys")) is True


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "192.168.1.5", "fe80::1", "gateway", "localhost.evil"]
)
def test_elsewhere_somebody_has_to_say_who_is_let_in(host: str) -> None:
    with pytest.raises(AccessUndecided, match="CIRCUMPLEX_ACCESS=keys"):
        asks_for_keys(Settings(host=host))
    assert asks_for_keys(Settings(host=host, access="open")) is False
    assert asks_for_keys(Settings(host=host, access="keys")) is True
