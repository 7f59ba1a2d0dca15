"""Streams over a WebSocket: the same messages onto the same handler as over gRPC."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from service.api.access import credential_of
from service.api.envelope import TRACE_HEADER
from service.api.live_messages import Request, read_media, read_text, write_error, write_response
from service.api.live_visit import Visit
from service.api.origins import check_origin
from service.api.paths import LIVE_PATH
from service.api.problems import answer
from service.domain.caller import Scope
from service.errors import (
    CircumplexError,
    InternalError,
    RequestError,
    RequestInvalid,
    RouteUnknown,
    UpgradeRequired,
)
from service.office.welcome import welcome
from service.settings import Settings
from service.telemetry.logs import TRACE_ID

PROTOCOL: Final = "circumplex.v1"
"""What a client may offer as the WebSocket's protocol; a page that brings a key has to."""

log = logging.getLogger(__name__)
router = APIRouter()


@router.get(LIVE_PATH, include_in_schema=False)
async def get_live_stream() -> None:
    """Say what this path is for. Raises: UpgradeRequired, always."""
    raise UpgradeRequired


@router.websocket(LIVE_PATH)
async def annotate_live(websocket: WebSocket) -> None:
    """One stream, from its handshake to its close.

    What a page can be told of a handshake that fails is nothing, so only what is no business of
    the page's is refused there; every other error is the last message before the close.
    """
    with Visit(websocket) as visit:
        try:
            _check_handshake(websocket, visit.gateway.settings)
        except RequestError as error:
            visit.refused(error)
            await websocket.send_denial_response(answer(websocket, error))
            return
        offered: list[str] = websocket.scope["subprotocols"]
        await websocket.accept(
            subprotocol=PROTOCOL if PROTOCOL in offered else None,
            headers=[(TRACE_HEADER.encode(), TRACE_ID.get().encode())],
        )
        await _serve(websocket, visit)


@router.websocket("/{path:path}")
async def refuse_elsewhere(websocket: WebSocket) -> None:
    """There is no other WebSocket."""
    with Visit(websocket) as visit:
        error = RouteUnknown(f"there is no WebSocket at {websocket.url.path[:200]}")
        visit.refused(error)
        await websocket.send_denial_response(answer(websocket, error))


def _check_handshake(websocket: WebSocket, settings: Settings) -> None:
    check_origin(websocket, settings)
    if websocket.url.query:
        raise RequestInvalid(f"{LIVE_PATH} takes no query: an API key goes into a header")


async def _serve(websocket: WebSocket, visit: Visit) -> None:
    try:
        error = await _outcome(websocket, visit)
        if error is not None:
            code = visit.failed(error)
            await websocket.send_text(write_error(error))
            await websocket.close(code, error.code)
        elif not visit.gone.is_set():
            await websocket.close(visit.succeeded())
    except WebSocketDisconnect:
        log.debug("the client of %s did not wait for its end", LIVE_PATH)


async def _outcome(websocket: WebSocket, visit: Visit) -> CircumplexError | None:
    """Answer until the end, which may come early: then nothing of the stream is left running."""
    answering = asyncio.create_task(_answer(websocket, visit))
    gone = asyncio.create_task(visit.gone.wait())
    gone.add_done_callback(lambda _: answering.cancel())
    try:
        await answering
    except CircumplexError as error:
        return error
    except asyncio.CancelledError:
        if not gone.done():
            raise
        return None
    except WebSocketDisconnect:
        raise
    except Exception as error:
        raised = InternalError()
        raised.__cause__ = error
        return raised
    finally:
        gone.cancel()


async def _answer(websocket: WebSocket, visit: Visit) -> None:
    gateway = visit.gateway
    caller = visit.caller = await gateway.gate.identify(credential_of(websocket))
    await gateway.gate.admit(caller, Scope.SUBMIT)
    streaming = aclosing(gateway.streams.annotate(_requests(websocket), caller))
    async with welcome(gateway.gate, caller), streaming as responses:
        async for response in responses:
            await websocket.send_text(write_response(response))


async def _requests(websocket: WebSocket) -> AsyncGenerator[Request]:
    """What the client sends. Raises: RequestInvalid, StreamOutOfOrder."""
    while (message := await websocket.receive())["type"] == "websocket.receive":
        text = message.get("text")
        request = read_media(message["bytes"]) if text is None else read_text(text)
        if request is None:
            return
        yield request
    await asyncio.get_running_loop().create_future()  # gone: this is cancelled any moment
