"""Streams that do as their config says, for tests of the door to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator

from circumplex.v1 import annotation_pb2 as wire

from service.domain.caller import Caller
from service.errors import StreamOutOfOrder, error_from_code


class ScriptedStreams:
    """Answers each frame with its index. The resume token of the config says what else is done:
    `endless` results whoever reads them, a `defect`, or the code of an error.
    """

    def __init__(self) -> None:
        self.open_count = 0
        self.response_count = 0
        self.is_drained = False
        self.outcomes: Counter[str] = Counter()

    def drain(self) -> None:
        self.is_drained = True

    async def annotate(
        self, requests: AsyncIterator[wire.StreamingAnnotateRequest], caller: Caller
    ) -> AsyncGenerator[wire.StreamingAnnotateResponse]:
        self.open_count += 1
        end = "left"
        try:
            async for response in self._run_script(requests):
                self.response_count += 1
                yield response
            end = "ended"
        finally:
            self.open_count -= 1
            self.outcomes[end] += 1

    async def _run_script(
        self, requests: AsyncIterator[wire.StreamingAnnotateRequest]
    ) -> AsyncGenerator[wire.StreamingAnnotateResponse]:
        first = await anext(requests, None)
        if first is None or first.WhichOneof("message") != "config":
            raise StreamOutOfOrder("the first message is the config")
        script = first.config.resume_token
        yield wire.StreamingAnnotateResponse(config_ack=wire.ConfigAck(stream_id="pretended"))
        if script == "defect":
            raise ValueError("a secret of the house")
        if script and script != "endless":
            raise error_from_code(script)
        index = 0
        while script == "endless" or await anext(requests, None) is not None:
            result = wire.FrameResult(index=index, resume_token="x" * 1000)
            yield wire.StreamingAnnotateResponse(frame_result=result)
            index += 1
        yield wire.StreamingAnnotateResponse(summary=wire.StreamSummary(frames=index))
