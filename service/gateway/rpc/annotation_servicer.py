"""AnnotationService: streams, onto the handler that all doors share."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from circumplex.v1 import annotation_pb2 as wire

from service.domain.caller import Caller
from service.gateway.context import GatewayContext


class AnnotationServicer:
    """Its methods."""

    def __init__(self, gateway: GatewayContext) -> None:
        self._gateway = gateway

    def streaming_annotate(
        self, requests: AsyncIterator[wire.StreamingAnnotateRequest], caller: Caller
    ) -> AsyncGenerator[wire.StreamingAnnotateResponse]:
        """One stream."""
        return self._gateway.streams.annotate(requests, caller)
