"""How routes ask for the gateway that they belong to."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from service.office.gateway import GatewayContext


def _get_gateway(request: Request) -> GatewayContext:
    return request.app.state.gateway


GatewayDep = Annotated[GatewayContext, Depends(_get_gateway)]
"""How a route asks for the gateway."""
