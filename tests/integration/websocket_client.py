"""Clients of /v1/live, as plain as they come."""

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
END_MESSAGE: Final = {"end": {}}


def websocket_url(address: str, path: str = "/v1/live") -> str:
    return address.replace("http://", "ws://") + path


def open_websocket(address: str, path: str = "/v1/live", **options: Any) -> connect:
    """A WebSocket; `ping_interval` is off, so that it says only what a test says."""
    told = {"compression": None, "ping_interval": None, "max_size": None, "proxy": None}
    return connect(websocket_url(address, path), **(told | options))


def encode_frame(data: bytes = b"a frame", seconds: float = 0.0) -> bytes:
    return struct.pack("<Bd", 2, seconds) + data


def encode_audio(data: bytes = b"\0\0", seconds: float = nan) -> bytes:
    return struct.pack("<Bd", 3, seconds) + data


async def send_message(socket: ClientConnection, message: object) -> None:
    await socket.send(message if isinstance(message, str | bytes) else json.dumps(message))


async def receive_message(socket: ClientConnection) -> dict[str, Any]:
    return json.loads(await socket.recv())


async def receive_until_closed(socket: ClientConnection) -> tuple[list[dict[str, Any]], int | None]:
    """What still comes, and the close code."""
    told: list[dict[str, Any]] = []
    try:
        while True:
            told.append(await receive_message(socket))
    except ConnectionClosed:
        return told, socket.close_code


async def expect_refused_handshake(
    address: str, path: str = "/v1/live", **options: Any
) -> tuple[int, dict[str, Any]]:
    """The status and the problem of a handshake that must fail."""
    with pytest.raises(InvalidStatus) as refused:
        async with open_websocket(address, path, **options):
            pass
    response = refused.value.response
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, json.loads(response.body or b"")
