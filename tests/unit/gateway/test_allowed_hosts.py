"""Hosts under which a gateway answers, by its settings."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from service.errors import HostRefused
from service.gateway.rest.browser_policy import BrowserPolicy
from service.settings import Settings


def make_request(host: str) -> Request:
    return Request({"type": "http", "headers": [(b"host", host.encode())]})


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::"])
def test_a_gateway_with_keys_answers_under_any_name_unless_some_are_listed(address: str) -> None:
    policy = BrowserPolicy(Settings(host=address), requires_keys=True)
    policy.check(make_request("api.example:443"))

    listing = Settings(host=address, allowed_hosts="Api.example ,other.example")
    policy = BrowserPolicy(listing, requires_keys=True)
    policy.check(make_request("api.Example:443"))
    with pytest.raises(HostRefused):
        policy.check(make_request("evil.example"))


def test_the_listen_address_is_a_name_of_the_gateway() -> None:
    policy = BrowserPolicy(Settings(host="gateway.lab"), requires_keys=False)

    policy.check(make_request("gateway.lab:8080"))
