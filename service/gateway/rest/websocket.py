"""Streams over a WebSocket, with the messages of the gRPC contract."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from service.auth.authenticator import while_authorized
from service.domain.caller import Scope
from service.errors import (
    CircumplexError,
    InternalError,
    RequestError,
    RequestInvalid,
    RouteUnknown,
    UpgradeRequired,
)
from service.gateway.rest.browser_policy import BrowserPolicy
from service.gateway.rest.dependencies import extract_credential
from service.gateway.rest.middleware import TRACE_HEADER
from service.gateway.rest.problems import problem_response
from service.gateway.rest.schemas import WEBSOCKET_PATH
from service.gateway.rest.websocket_exchange import WebSocketExchange
from service.gateway.rest.websocket_messages import (
    encode_error,
    encode_event,
    parse_media_message,
    parse_text_message,
)
from service.streaming.config import StreamRequest
from service.telemetry.logs import TRACE_ID

SUBPROTOCOL: Final = "circumplex.v1"
"""Subprotocol that a client may offer; a page that sends an API key as one must offer it, too."""

log = logging.getLogger(__name__)
router = APIRouter()


@router.get(WEBSOCKET_PATH, include_in_schema=False)
async def get_live_stream() -> None:
    """Refuse a plain HTTP request. Raises: UpgradeRequired."""
    raise UpgradeRequired


@router.websocket(WEBSOCKET_PATH)
async def annotate_stream(websocket: WebSocket) -> None:
    """Annotate one stream.

    A page cannot read why its handshake failed: only a foreign host or origin and a query are
    refused there; every other error is sent as the last message before the close.
    """
    with WebSocketExchange(websocket) as exchange:
        try:
            _check_handshake(websocket)
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
    """Refuse a handshake on any other path."""
    with WebSocketExchange(websocket) as exchange:
        error = RouteUnknown(f"there is no WebSocket at {websocket.url.path[:200]}")
        exchange.mark_refused(error)
        await websocket.send_denial_response(problem_response(websocket, error))


def _check_handshake(websocket: WebSocket) -> None:
    policy: BrowserPolicy = websocket.app.state.browser_policy
    policy.check(websocket)
    if websocket.url.query:
        raise RequestInvalid(f"{WEBSOCKET_PATH} takes no query: an API key goes into a header")


async def _serve(websocket: WebSocket, exchange: WebSocketExchange) -> None:
    try:
        error = await _stream_until_end(websocket, exchange)
        if error is not None:
            code = exchange.mark_failed(error)
            await websocket.send_text(encode_error(error))
            await websocket.close(code, error.code)
        elif not exchange.disconnected.is_set():
            await websocket.close(exchange.mark_succeeded())
    except WebSocketDisconnect:
        log.debug("%s: disconnected before the end of the stream", WEBSOCKET_PATH)


async def _stream_until_end(
    websocket: WebSocket, exchange: WebSocketExchange
) -> CircumplexError | None:
    """Send events until the end, or until the client disconnects; returns the stream's error."""
    send_task = asyncio.create_task(_send_responses(websocket, exchange))
    disconnect_task = asyncio.create_task(exchange.disconnected.wait())
    disconnect_task.add_done_callback(lambda _: send_task.cancel())
    try:
        await send_task
    except CircumplexError as error:
        return error
    except asyncio.CancelledError:
        if not disconnect_task.done():
            raise
        return None
    except WebSocketDisconnect:
        raise
    except Exception as error:
        internal_error = InternalError()
        internal_error.__cause__ = error
        return internal_error
    finally:
        disconnect_task.cancel()


async def _send_responses(websocket: WebSocket, exchange: WebSocketExchange) -> None:
    gateway = exchange.gateway
    address = websocket.client.host if websocket.client else None
    caller = exchange.caller = await gateway.authenticator.identify(
        extract_credential(websocket), address
    )
    await gateway.authenticator.authorize(caller, Scope.SUBMIT)
    streaming = aclosing(gateway.streams.annotate(_receive_requests(websocket), caller))
    async with while_authorized(gateway.authenticator, caller), streaming as events:
        async for event in events:
            await websocket.send_text(encode_event(event))


async def _receive_requests(websocket: WebSocket) -> AsyncGenerator[StreamRequest]:
    """Yield the client's requests. Raises: RequestInvalid, StreamOutOfOrder."""
    while (message := await websocket.receive())["type"] == "websocket.receive":
        text = message.get("text")
        request = (
            parse_media_message(message["bytes"]) if text is None else parse_text_message(text)
        )
        if request is None:
            return
        yield request
    await asyncio.get_running_loop().create_future()  # disconnected: the task will be cancelled
