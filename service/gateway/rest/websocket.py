"""Streams over a WebSocket: the same messages onto the same handler as over gRPC."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from service.domain.caller import Scope
from service.errors import (
    CircumplexError,
    InternalError,
    RequestError,
    RequestInvalid,
    RouteUnknown,
    UpgradeRequired,
)
from service.gateway.rest.dependencies import extract_credential
from service.gateway.rest.origins import check_origin
from service.gateway.rest.problems import problem_response
from service.gateway.rest.request_middleware import TRACE_HEADER
from service.gateway.rest.urls import WEBSOCKET_PATH
from service.gateway.rest.websocket_exchange import WebSocketExchange
from service.gateway.rest.websocket_messages import (
    Request,
    encode_error,
    encode_response,
    parse_media_message,
    parse_text_message,
)
from service.gateway.use_cases.reauthentication import while_authorized
from service.settings import Settings
from service.telemetry.logs import TRACE_ID

SUBPROTOCOL: Final = "circumplex.v1"
"""What a client may offer as the WebSocket's protocol; a page that brings a key has to."""

log = logging.getLogger(__name__)
router = APIRouter()


@router.get(WEBSOCKET_PATH, include_in_schema=False)
async def get_live_stream() -> None:
    """Say what this path is for. Raises: UpgradeRequired, always."""
    raise UpgradeRequired


@router.websocket(WEBSOCKET_PATH)
async def annotate_stream(websocket: WebSocket) -> None:
    """One stream, from its handshake to its close.

    What a page can be told of a handshake that fails is nothing, so only what is no business of
    the page's is refused there; every other error is the last message before the close.
    """
    with WebSocketExchange(websocket) as exchange:
        try:
            _check_handshake(websocket, exchange.gateway.settings)
        except RequestError as error:
            exchange.mark_refused(error)
            await websocket.send_denial_response(problem_response(websocket, error))
            return
        offered: list[str] = websocket.scope["subprotocols"]
        await websocket.accept(
            subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None,
            headers=[(TRACE_HEADER.encode(), TRACE_ID.get().encode())],
        )
        await _serve(websocket, exchange)


@router.websocket("/{path:path}")
async def reject_unknown_path(websocket: WebSocket) -> None:
    """There is no other WebSocket."""
    with WebSocketExchange(websocket) as exchange:
        error = RouteUnknown(f"there is no WebSocket at {websocket.url.path[:200]}")
        exchange.mark_refused(error)
        await websocket.send_denial_response(problem_response(websocket, error))


def _check_handshake(websocket: WebSocket, settings: Settings) -> None:
    check_origin(websocket, settings)
    if websocket.url.query:
        raise RequestInvalid(f"{WEBSOCKET_PATH} takes no query: an API key goes into a header")


async def _serve(websocket: WebSocket, exchange: WebSocketExchange) -> None:
    try:
        error = await _stream_until_end(websocket, exchange)
        if error is not None:
            code = exchange.mark_failed(error)
            await websocket.send_text(encode_error(error))
            await websocket.close(code, error.code)
        elif not exchange.client_gone.is_set():
            await websocket.close(exchange.mark_succeeded())
    except WebSocketDisconnect:
        log.debug("the client of %s did not wait for its end", WEBSOCKET_PATH)


async def _stream_until_end(
    websocket: WebSocket, exchange: WebSocketExchange
) -> CircumplexError | None:
    """Answer until the end, which may come early: then nothing of the stream is left running."""
    send_task = asyncio.create_task(_send_responses(websocket, exchange))
    gone_task = asyncio.create_task(exchange.client_gone.wait())
    gone_task.add_done_callback(lambda _: send_task.cancel())
    try:
        await send_task
    except CircumplexError as error:
        return error
    except asyncio.CancelledError:
        if not gone_task.done():
            raise
        return None
    except WebSocketDisconnect:
        raise
    except Exception as error:
        internal_error = InternalError()
        internal_error.__cause__ = error
        return internal_error
    finally:
        gone_task.cancel()


async def _send_responses(websocket: WebSocket, exchange: WebSocketExchange) -> None:
    gateway = exchange.gateway
    caller = exchange.caller = await gateway.authenticator.identify(extract_credential(websocket))
    await gateway.authenticator.authorize(caller, Scope.SUBMIT)
    streaming = aclosing(gateway.streams.annotate(_receive_requests(websocket), caller))
    async with while_authorized(gateway.authenticator, caller), streaming as responses:
        async for response in responses:
            await websocket.send_text(encode_response(response))


async def _receive_requests(websocket: WebSocket) -> AsyncGenerator[Request]:
    """What the client sends. Raises: RequestInvalid, StreamOutOfOrder."""
    while (message := await websocket.receive())["type"] == "websocket.receive":
        text = message.get("text")
        request = (
            parse_media_message(message["bytes"]) if text is None else parse_text_message(text)
        )
        if request is None:
            return
        yield request
    await asyncio.get_running_loop().create_future()  # gone: this is cancelled any moment
