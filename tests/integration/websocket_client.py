"""Plain WebSocket client of /v1/live."""

from __future__ import annotations

import json
import struct
from math import nan
from typing import Any, Final

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

TIMEOUT_SECONDS: Final = 20.0
JPEG_CONFIG: Final = {"config": {"frames": {"encoding": "FRAME_ENCODING_JPEG"}}}
END_MESSAGE: Final[dict[str, dict[str, object]]] = {"end": {}}


def websocket_url(address: str, path: str = "/v1/live") -> str:
    return address.replace("http://", "ws://") + path


def open_websocket(address: str, path: str = "/v1/live", **options: Any) -> connect:
    """Open a WebSocket that sends nothing by itself: without pings."""
    defaults: dict[str, Any] = {"compression": None, "ping_interval": None}
    defaults |= {"max_size": None, "proxy": None}
    return connect(websocket_url(address, path), **(defaults | options))


def encode_frame(data: bytes = b"a frame", seconds: float = 0.0) -> bytes:
    return struct.pack("<Bd", 2, seconds) + data


def encode_audio(data: bytes = b"\0\0", seconds: float = nan) -> bytes:
    return struct.pack("<Bd", 3, seconds) + data


async def send_message(socket: ClientConnection, message: object) -> None:
    await socket.send(message if isinstance(message, str | bytes) else json.dumps(message))


async def receive_message(socket: ClientConnection) -> dict[str, Any]:
    return json.loads(await socket.recv())


async def receive_until_closed(socket: ClientConnection) -> tuple[list[dict[str, Any]], int | None]:
    """Return the remaining messages, and the close code."""
    messages: list[dict[str, Any]] = []
    try:
        while True:
            messages.append(await receive_message(socket))
    except ConnectionClosed:
        return messages, socket.close_code


async def expect_refused_handshake(
    address: str, path: str = "/v1/live", **options: Any
) -> tuple[int, dict[str, Any]]:
    """Open a WebSocket that must be refused; returns the status and the problem."""
    with pytest.raises(InvalidStatus) as refused:
        async with open_websocket(address, path, **options):
            pass
    response = refused.value.response
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, json.loads(response.body or b"")
