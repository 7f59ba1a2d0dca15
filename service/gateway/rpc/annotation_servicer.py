"""AnnotationService of the gRPC contract."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from circumplex.v1 import annotation_pb2 as wire

from service.domain.caller import Caller
from service.gateway.context import StreamService
from service.gateway.stream_messages import event_to_proto, parse_request
from service.streaming.config import StreamRequest


class AnnotationServicer:
    """Methods of AnnotationService, by their names in snake case."""

    def __init__(self, streams: StreamService) -> None:
        self._streams = streams

    async def streaming_annotate(
        self, requests: AsyncIterator[wire.StreamingAnnotateRequest], caller: Caller
    ) -> AsyncGenerator[wire.StreamingAnnotateResponse]:
        """Annotate one stream."""
        async with aclosing(self._streams.annotate(_parse_requests(requests), caller)) as events:
            async for event in events:
                yield event_to_proto(event)


async def _parse_requests(
    requests: AsyncIterator[wire.StreamingAnnotateRequest],
) -> AsyncGenerator[StreamRequest]:
    async for request in requests:
        yield parse_request(request)
