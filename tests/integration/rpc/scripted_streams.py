"""Fake streams that follow a script in their config, for tests of the gRPC service."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator

from service.domain.caller import Caller
from service.errors import StreamOutOfOrder, error_from_code
from service.streaming.config import StreamRequest, StreamSessionConfig
from service.streaming.events import StreamCompleted, StreamEvent, StreamResult
from tests.integration.fake_streams import make_opened


class ScriptedStreams:
    """Answers each frame with its index.

    The resume token of the config is the script: `endless` results, whether they are read or not,
    a `defect`, or the code of an error.
    """

    def __init__(self) -> None:
        self.open_count = 0
        self.response_count = 0
        self.is_drained = False
        self.outcomes: Counter[str] = Counter()

    def drain(self) -> None:
        self.is_drained = True

    async def annotate(
        self, requests: AsyncIterator[StreamRequest], caller: Caller
    ) -> AsyncGenerator[StreamEvent]:
        self.open_count += 1
        end = "cancelled"
        try:
            async for response in self._run_script(requests):
                self.response_count += 1
                yield response
            end = "ended"
        finally:
            self.open_count -= 1
            self.outcomes[end] += 1

    async def _run_script(
        self, requests: AsyncIterator[StreamRequest]
    ) -> AsyncGenerator[StreamEvent]:
        first = await anext(requests, None)
        if not isinstance(first, StreamSessionConfig):
            raise StreamOutOfOrder("the first message is the config")
        script = first.resume_token
        yield make_opened()
        if script == "defect":
            raise ValueError("a secret detail")
        if script and script != "endless":
            raise error_from_code(script)
        index = 0
        while script == "endless" or await anext(requests, None) is not None:
            yield StreamResult(
                index=index, time_seconds=0.0, is_final=False, resume_token="x" * 1000
            )
            index += 1
        yield StreamCompleted(frames=index)
