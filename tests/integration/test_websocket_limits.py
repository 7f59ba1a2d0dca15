"""Limits of WebSockets: message sizes, unread messages, connections, disconnections."""

from __future__ import annotations

import asyncio
import base64
import logging
import struct
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest
from websockets.asyncio.client import ClientConnection

from service.gateway.context import GatewayContext
from tests.integration.fake_streams import FakeStreams
from tests.integration.websocket_client import (
    JPEG_CONFIG,
    TIMEOUT_SECONDS,
    encode_frame,
    open_websocket,
    receive_message,
    receive_until_closed,
    send_message,
)
from tests.integration.websocket_gateway import WebSocketGateway, serving_websockets


@pytest.fixture
async def server(gateway: GatewayContext) -> AsyncGenerator[WebSocketGateway]:
    async with serving_websockets(gateway) as server:
        yield server


async def test_a_message_too_large_ends_the_stream(gateway: GatewayContext) -> None:
    async with serving_websockets(gateway, max_stream_message_bytes=2**18) as server:
        async with open_websocket(server.address) as socket:
            await send_message(socket, JPEG_CONFIG)
            await receive_message(socket)
            await send_message(socket, encode_frame(b"x" * 2**18))
            assert "frame_result" in await receive_message(socket)
            await send_message(socket, encode_frame(b"x" * (2**18 + 1)))
            assert await receive_until_closed(socket) == ([], 1009)
        async with open_websocket(server.address) as socket:
            await send_message(socket, b"x" * (2**18 + 1))  # before the client is authenticated
            assert await receive_until_closed(socket) == ([], 1009)
        await server.wait_until_disconnected()


async def test_a_message_of_too_many_fragments_ends_the_stream(server: WebSocketGateway) -> None:
    async with open_websocket(server.address, close_timeout=1) as socket:
        await send_message(socket, JPEG_CONFIG)
        await receive_message(socket)

        async def empty_fragments() -> AsyncGenerator[bytes]:
            while True:
                yield b""
                await asyncio.sleep(0)

        sending = asyncio.create_task(socket.send(empty_fragments()))
        messages, code = await receive_until_closed(socket)
        assert (messages, code) == ([], 1002)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    await server.wait_until_disconnected()


async def abort_connection(socket: ClientConnection) -> None:
    socket.transport.abort()


async def close_connection(socket: ClientConnection) -> None:
    await socket.close()


@pytest.mark.parametrize("leave", [abort_connection, close_connection])
@pytest.mark.parametrize("is_blocked", [False, True], ids=["read from", "blocked"])
async def test_a_disconnected_client_ends_its_stream(
    server: WebSocketGateway, leave: Any, is_blocked: bool
) -> None:
    async with open_websocket(server.address, close_timeout=1) as socket:
        await send_message(socket, JPEG_CONFIG)
        await receive_message(socket)
        if is_blocked:
            await send_message(socket, encode_frame())
            await receive_message(socket)
            server.streams.reading_allowed.clear()
            for _ in range(3):
                await send_message(socket, encode_frame(b"x" * 100))
            await asyncio.sleep(0.2)
        await leave(socket)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await server.streams.has_ended.wait()
    await server.wait_until_disconnected()
    await server.wait_for_close_count(1006, 1)


async def test_a_client_that_does_not_read_is_disconnected_and_buffers_are_bounded(
    gateway: GatewayContext,
) -> None:
    streams = FakeStreams(token_chars=100_000)
    async with serving_websockets(gateway, streams, response_stall_seconds=1.0) as server:
        async with open_websocket(server.address, max_queue=1, close_timeout=1) as socket:
            socket.transport.pause_reading()
            await send_message(socket, JPEG_CONFIG)
            sending = asyncio.create_task(send_frames(socket, 2000))
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await streams.has_ended.wait()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        await server.wait_until_disconnected()
    assert streams.result_count < 500, "200 MB of results were buffered"
    assert server.count_ended_connections("answer_stalled") == 1


async def send_frames(socket: ClientConnection, count: int) -> None:
    for _ in range(count):
        await socket.send(encode_frame())


async def test_websockets_count_as_connections(gateway: GatewayContext) -> None:
    async with (
        serving_websockets(gateway, max_connections=2, max_connections_per_client=2) as server,
        open_websocket(server.address) as one,
        open_websocket(server.address) as other,
    ):
        for socket in (one, other):
            await send_message(socket, JPEG_CONFIG)
            assert "config_ack" in await receive_message(socket)
        assert server.count_connections() == 2
        host, port = server.address.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        response = await reader.read()
        writer.close()
        assert response.startswith(b"HTTP/1.1 503 ")
        assert b'"connections_exhausted"' in response
        await one.close()
        async with open_websocket(server.address) as third:
            await send_message(third, JPEG_CONFIG)
            assert "config_ack" in await receive_message(third)


HANDSHAKE_REQUEST = (
    b"GET /v1/live HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n\r\n"
)
UNMASKED_FRAME = b"\x81\x02{}"
INVALID_UTF8_FRAME = b"\x81\x82\0\0\0\0\xff\xfe"
INVALID_OPCODE_FRAME = b"\x83\x81\0\0\0\0x"
PING_FRAME = b"\x89\xfd\0\0\0\0" + bytes(125)


async def connect_raw(
    server: WebSocketGateway,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a WebSocket on a raw connection, to send frames that no library sends."""
    host, port = server.address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(HANDSHAKE_REQUEST)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    return reader, writer


async def test_invalid_frames_close_the_connection_without_warnings(
    server: WebSocketGateway, caplog: pytest.LogCaptureFixture
) -> None:
    codes: list[int] = []
    for bytes_sent in (UNMASKED_FRAME, INVALID_UTF8_FRAME, INVALID_OPCODE_FRAME):
        reader, writer = await connect_raw(server)
        writer.write(bytes_sent)
        opcode, _, code = struct.unpack(">BBH", (await reader.read())[:4])
        assert opcode == 0x88
        codes.append(code)
        writer.close()
    assert codes == [1002, 1007, 1002]
    await server.wait_until_disconnected()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_ping_flood_with_unread_pongs_is_disconnected(server: WebSocketGateway) -> None:
    _, writer = await connect_raw(server)
    transport = cast(asyncio.Transport, writer.transport)
    transport.pause_reading()

    async def flood() -> None:
        while True:
            writer.write(PING_FRAME * 1000)
            await writer.drain()
            await asyncio.sleep(0)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(flood(), TIMEOUT_SECONDS)
    writer.close()
    await server.wait_until_disconnected()
    assert server.count_ended_connections("answer_stalled") == 1
