"""Decision whether a gateway requires API keys."""

from __future__ import annotations

import pytest

from service.auth.authenticator import requires_keys
from service.errors import AccessModeUnset
from service.settings import Settings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_host_needs_no_keys_unless_configured(host: str) -> None:
    assert requires_keys(Settings(host=host)) is False
    assert requires_keys(Settings(host=host, access="keys")) is True


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "192.168.1.5", "fe80::1", "gateway", "localhost.evil"]
)
def test_public_host_requires_an_explicit_access_setting(host: str) -> None:
    with pytest.raises(AccessModeUnset, match="CIRCUMPLEX_ACCESS=keys"):
        requires_keys(Settings(host=host))
    assert requires_keys(Settings(host=host, access="open")) is False
    assert requires_keys(Settings(host=host, access="keys")) is True
