"""How routes ask for the gateway that they belong to."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from service.office.gateway import Gateway


def _gateway_of(request: Request) -> Gateway:
    return request.app.state.gateway


GatewayOfApp = Annotated[Gateway, Depends(_gateway_of)]
"""How a route asks for the gateway."""
