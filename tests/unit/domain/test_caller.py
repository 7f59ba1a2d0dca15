"""Ids of addresses, by which callers without a key are counted."""

from __future__ import annotations

import pytest

from service.domain.caller import address_id


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", "address:192.0.2.7"),
        ("::ffff:192.0.2.7", "address:192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "address:2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "address:2001:db8:1:2::/64"),
        ("fe80::1%eth0", "address:fe80::/64"),
        ("testclient", None),
        ("", None),
        (None, None),
    ],
)
def test_address_id(address: str | None, expected: str | None) -> None:
    assert address_id(address) == expected
