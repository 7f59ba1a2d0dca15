"""What a client of the WebSocket door may take: bytes, time, connections; and when it is gone."""

from __future__ import annotations

import asyncio
import base64
import logging
import struct
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from service.office.gateway import Gateway
from tests.integration.live_doors import Door, door_of
from tests.integration.pretended_streams import PretendedStreams
from tests.integration.sockets import (
    JPEG_FRAMES,
    PATIENCE_SECONDS,
    frame,
    hear,
    opened,
    rest_of,
    say,
)


@pytest.fixture
async def door(gateway: Gateway) -> AsyncGenerator[Door]:
    async with door_of(gateway) as door:
        yield door


async def test_a_message_too_large_ends_the_stream(gateway: Gateway) -> None:
    async with door_of(gateway, max_stream_message_bytes=2**18) as door:
        async with opened(door.address) as socket:
            await say(socket, JPEG_FRAMES)
            await hear(socket)
            await say(socket, frame(b"x" * 2**18))
            assert "frame_result" in await hear(socket)
            await say(socket, frame(b"x" * (2**18 + 1)))
            assert await rest_of(socket) == ([], 1009)
        async with opened(door.address) as socket:
            await say(socket, b"x" * (2**18 + 1))  # before anything is known of the client
            assert await rest_of(socket) == ([], 1009)
        await door.all_gone()


async def test_a_message_of_countless_fragments_ends_the_stream(door: Door) -> None:
    async with opened(door.address, close_timeout=1) as socket:
        await say(socket, JPEG_FRAMES)
        await hear(socket)

        async def crumbs() -> AsyncGenerator[bytes]:
            while True:
                yield b""
                await asyncio.sleep(0)

        sending = asyncio.create_task(socket.send(crumbs()))
        told, code = await rest_of(socket)
        assert (told, code) == ([], 1002)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    await door.all_gone()


async def vanish(socket: ClientConnection) -> None:
    socket.transport.abort()


async def hang_up(socket: ClientConnection) -> None:
    await socket.close()


@pytest.mark.parametrize("leave", [vanish, hang_up])
@pytest.mark.parametrize("is_held", [False, True], ids=["read from", "held up"])
async def test_a_client_that_is_gone_ends_its_stream(door: Door, leave: Any, is_held: bool) -> None:
    async with opened(door.address, close_timeout=1) as socket:
        await say(socket, JPEG_FRAMES)
        await hear(socket)
        if is_held:
            await say(socket, frame())
            await hear(socket)
            door.streams.held.clear()
            for _ in range(3):
                await say(socket, frame(b"x" * 100))
            await asyncio.sleep(0.2)
        await leave(socket)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await door.streams.has_ended.wait()
    await door.all_gone()
    await door.counted(1006, 1)


async def test_a_client_that_reads_nothing_costs_little_and_is_cut_off(gateway: Gateway) -> None:
    streams = PretendedStreams(result_letters=100_000)
    async with door_of(gateway, streams, response_stall_seconds=1.0) as door:
        async with opened(door.address, max_queue=1, close_timeout=1) as socket:
            socket.transport.pause_reading()
            await say(socket, JPEG_FRAMES)
            sending = asyncio.create_task(send_frames(socket, 2000))
            async with asyncio.timeout(PATIENCE_SECONDS):
                await streams.has_ended.wait()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        await door.all_gone()
    assert streams.sent < 500, "200 MB were made, and buffered somewhere"
    assert door.count_ended("answer_stalled") == 1


async def send_frames(socket: ClientConnection, count: int) -> None:
    for _ in range(count):
        await socket.send(frame())


async def test_connections_count_whatever_they_speak(gateway: Gateway) -> None:
    async with (
        door_of(gateway, max_connections=2, max_connections_per_client=2) as door,
        opened(door.address) as one,
        opened(door.address) as other,
    ):
        for socket in (one, other):
            await say(socket, JPEG_FRAMES)
            assert "config_ack" in await hear(socket)
        assert door.connections() == 2
        host, port = door.address.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b'"connections_exhausted"' in answer
        await one.close()
        async with opened(door.address) as third:
            await say(third, JPEG_FRAMES)
            assert "config_ack" in await hear(third)


HANDSHAKE = (
    b"GET /v1/live HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n\r\n"
)
UNMASKED = b"\x81\x02{}"
NO_TEXT = b"\x81\x82\0\0\0\0\xff\xfe"
NO_OPCODE = b"\x83\x81\0\0\0\0x"
PING = b"\x89\xfd\0\0\0\0" + bytes(125)


async def connected(door: Door) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A WebSocket that says what no library would."""
    host, port = door.address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(HANDSHAKE)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    return reader, writer


async def test_frames_that_are_none_end_the_connection_and_are_no_defect(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    codes: list[int] = []
    for bytes_sent in (UNMASKED, NO_TEXT, NO_OPCODE):
        reader, writer = await connected(door)
        writer.write(bytes_sent)
        opcode, _, code = struct.unpack(">BBH", (await reader.read())[:4])
        assert opcode == 0x88
        codes.append(code)
        writer.close()
    assert codes == [1002, 1007, 1002]
    await door.all_gone()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_flood_of_pings_whose_answers_nobody_takes_is_ended(door: Door) -> None:
    _, writer = await connected(door)
    writer.transport.pause_reading()

    async def flood() -> None:
        while True:
            writer.write(PING * 1000)
            await writer.drain()
            await asyncio.sleep(0)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(flood(), PATIENCE_SECONDS)
    writer.close()
    await door.all_gone()
    assert door.count_ended("answer_stalled") == 1
