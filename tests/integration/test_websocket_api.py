"""Streams over a WebSocket: messages, errors, close codes, refused handshakes."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncGenerator

import httpx
import pytest

from service.domain.stream import (
    ContainerStreamMedia,
    FrameStreamMedia,
    StreamAudio,
    StreamBytes,
    StreamFrame,
)
from service.errors import (
    CircumplexError,
    InferenceUnavailable,
    StreamOverrun,
    StreamSuperseded,
)
from service.gateway.context import GatewayContext
from service.gateway.rest.app import create_app
from service.streaming.config import StreamSessionConfig
from tests.integration.fake_streams import FakeStreams, make_error
from tests.integration.servers import serving
from tests.integration.websocket_client import (
    END_MESSAGE,
    JPEG_CONFIG,
    TIMEOUT_SECONDS,
    encode_audio,
    encode_frame,
    expect_refused_handshake,
    open_websocket,
    receive_message,
    receive_until_closed,
    send_message,
)
from tests.integration.websocket_gateway import WebSocketGateway, serving_websockets

FRAMES_AND_AUDIO_CONFIG = {
    "config": {
        "frames": {
            "encoding": "FRAME_ENCODING_JPEG",
            "audio": {"encoding": "SAMPLE_ENCODING_S16LE", "sample_rate_hz": 16000, "channels": 1},
        },
        "overload_policy": "OVERLOAD_POLICY_DROP_OLDEST",
    }
}


@pytest.fixture
async def server(gateway: GatewayContext) -> AsyncGenerator[WebSocketGateway]:
    async with serving_websockets(gateway) as server:
        yield server


async def test_a_session_follows_the_documented_messages(server: WebSocketGateway) -> None:
    async with open_websocket(server.address) as socket:
        await send_message(socket, FRAMES_AND_AUDIO_CONFIG)
        ack = await receive_message(socket)
        await send_message(socket, encode_frame(b"one", 0.5))
        first = await receive_message(socket)
        await send_message(socket, encode_audio(b"\1\2"))
        await send_message(socket, encode_audio(b"\3\4", 0.25))
        await send_message(socket, END_MESSAGE)
        rest, code = await receive_until_closed(socket)
    await server.wait_until_disconnected()

    assert ack["config_ack"]["stream_id"] == "pretended"
    assert first["frame_result"] == {
        "index": "0",
        "time_seconds": 0.0,
        "is_final": True,
        "tracks": [],
        "missing_reason": "MISSING_REASON_FACE_NOT_FOUND",
        "resume_token": "token-of-0",
    }
    assert [next(iter(message)) for message in rest] == ["frame_result", "frame_result", "summary"]
    assert rest[-1]["summary"]["frames"] == "3"
    assert code == 1000
    config, frame, *audio = server.streams.requests
    assert isinstance(config, StreamSessionConfig)
    assert isinstance(config.media, FrameStreamMedia)
    assert config.media.audio is not None
    assert config.media.audio.rate_hz == 16000
    assert isinstance(frame, StreamFrame)
    assert (frame.data, frame.time_seconds) == (b"one", 0.5)
    assert audio == [
        StreamAudio(data=b"\1\2", time_seconds=None),
        StreamAudio(data=b"\3\4", time_seconds=0.25),
    ]
    await server.wait_for_close_count(1000, 1)


async def test_the_config_chooses_a_model_and_the_acknowledgement_names_it(
    server: WebSocketGateway,
) -> None:
    async with open_websocket(server.address) as socket:
        await send_message(socket, {"config": {"container": {}, "model": "mini"}})
        ack = (await receive_message(socket))["config_ack"]
        await send_message(socket, END_MESSAGE)
        await receive_until_closed(socket)
    config = server.streams.requests[0]
    assert isinstance(config, StreamSessionConfig)
    assert config.model == "mini"
    assert (ack["model"], ack["domain"], ack["classes"]) == ("mini@1", "", [])
    assert ack["flags"] == ["weights_unmeasured"]
    assert ack["model_summary"].startswith("Model mini@1, ")


async def test_a_container_may_have_any_chunk_size(server: WebSocketGateway) -> None:
    async with open_websocket(server.address) as socket:
        await send_message(socket, {"config": {"container": {"audio_stream": 2}}})
        for piece in (b"", b"a", b"b" * 300_000):
            await send_message(socket, b"\1" + piece)
        await send_message(socket, END_MESSAGE)
        _, code = await receive_until_closed(socket)
    assert code == 1000
    config, *pieces = server.streams.requests
    assert isinstance(config, StreamSessionConfig)
    assert config.media == ContainerStreamMedia(audio_stream=2)
    assert [len(piece.data) for piece in pieces if isinstance(piece, StreamBytes)] == [
        *(0, 1, 300_000)
    ]


INVALID_MESSAGES: list[tuple[str, object, str]] = [
    ("no JSON", "{", "request_invalid"),
    ("an array", "[1]", "request_invalid"),
    ("a number", "7", "request_invalid"),
    ("an empty object", "{}", "stream_out_of_order"),
    ("nested too deeply", "[" * 50_000, "request_invalid"),
    ("an unknown field", {"config": {"frames": {"colour": 1}}}, "request_invalid"),
    ("a malformed model", {"config": {"container": {}, "model": "mini@0"}}, "request_invalid"),
    ("a model that is no text", {"config": {"container": {}, "model": 1}}, "request_invalid"),
    ("two kinds of media", {"config": {"frames": {}, "container": {}}}, "request_invalid"),
    ("media as text", {"container": {"data": "AAAA"}}, "stream_out_of_order"),
    ("a text too long", " " * 70_000, "request_invalid"),
    ("an empty message", b"", "request_invalid"),
    ("an unknown kind", b"\7abc", "request_invalid"),
    ("a frame without a time", b"\2\0\0", "request_invalid"),
    (
        "a frame with a time that is no number",
        encode_frame(seconds=float("nan")),
        "request_invalid",
    ),
    ("audio at an infinite time", encode_audio(seconds=float("inf")), "request_invalid"),
]


@pytest.mark.parametrize("is_first", [True, False], ids=["at first", "later"])
async def test_an_invalid_message_gets_a_problem(server: WebSocketGateway, is_first: bool) -> None:
    for name, message, code in INVALID_MESSAGES:
        async with open_websocket(server.address) as socket:
            if not is_first:
                await send_message(socket, JPEG_CONFIG)
                await receive_message(socket)
            await send_message(socket, message)
            messages, close_code = await receive_until_closed(socket)
        assert [list(each) for each in messages] == [["error"]], name
        error = messages[0]["error"]
        assert (error["code"], error["retryable"]) == (code, False), name
        assert error["detail"]
        assert "\n" not in error["detail"]
        assert close_code == 4422, name
    await server.wait_until_disconnected()
    await server.wait_for_close_count(4422, len(INVALID_MESSAGES))


@pytest.mark.parametrize(
    ("error", "close_code", "code", "retryable"),
    [
        (make_error(StreamOverrun), 4429, "stream_overrun", True),
        (make_error(StreamSuperseded), 4409, "stream_superseded", False),
        (make_error(InferenceUnavailable), 1013, "inference_unavailable", True),
        (ZeroDivisionError("a secret"), 4500, "internal_error", False),
    ],
)
async def test_each_error_has_its_close_code(
    gateway: GatewayContext, error: Exception, close_code: int, code: str, retryable: bool
) -> None:
    async with serving_websockets(gateway, FakeStreams(error=error)) as server:
        async with open_websocket(server.address) as socket:
            await send_message(socket, JPEG_CONFIG)
            await receive_message(socket)
            await send_message(socket, encode_frame())
            messages, closed_with = await receive_until_closed(socket)
        assert closed_with == close_code
        problem = messages[-1]["error"]
        assert (problem["code"], problem["retryable"]) == (code, retryable)
        assert socket.close_reason == code
        assert "secret" not in json.dumps(problem)
        if isinstance(error, CircumplexError):
            assert problem["detail"] == "as it was pretended"


async def test_a_draining_gateway_sends_a_resume_token(gateway: GatewayContext) -> None:
    app = create_app(dataclasses.replace(gateway, streams=FakeStreams()))
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()

    async def serve() -> None:
        async with serving(app) as url:
            address.set_result(url)
            await stop.wait()

    async with asyncio.timeout(2 * TIMEOUT_SECONDS), asyncio.TaskGroup() as tasks:
        tasks.create_task(serve())
        async with open_websocket(await address) as socket:
            await send_message(socket, JPEG_CONFIG)
            await receive_message(socket)
            await send_message(socket, encode_frame())
            await receive_message(socket)
            stop.set()
            messages, code = await receive_until_closed(socket)
    assert messages[0] == {"draining": {"resume_token": "token-of-0"}}
    assert messages[1]["error"]["code"] == "gateway_draining"
    assert code == 1012


async def test_other_origins_are_refused(gateway: GatewayContext) -> None:
    async with serving_websockets(
        gateway, websocket_origins="https://a.example, https://b.example:444"
    ) as server:
        own = server.address
        for origin in (None, own, "https://a.example", "HTTPS://B.example:444"):
            async with open_websocket(server.address, origin=origin) as socket:
                await send_message(socket, JPEG_CONFIG)
                assert "config_ack" in await receive_message(socket)
        foreign = ("null", "https://b.example", "http://a.example", f"{own}1", "http://127.0.0.1")
        for origin in (*foreign, "https://a.example.evil.example"):
            status, problem = await expect_refused_handshake(server.address, origin=origin)
            assert (status, problem["code"]) == (403, "origin_refused"), origin
        assert len(server.streams.callers) == 4
        await server.wait_for_close_count(403, len(foreign) + 1)


async def test_a_wildcard_allows_every_origin(gateway: GatewayContext) -> None:
    async with (
        serving_websockets(gateway, websocket_origins="*") as server,
        open_websocket(server.address, origin="https://somewhere.example") as socket,
    ):
        await send_message(socket, JPEG_CONFIG)
        assert "config_ack" in await receive_message(socket)


async def test_a_plain_request_gets_an_http_response(server: WebSocketGateway) -> None:
    elsewhere = await expect_refused_handshake(server.address, "/v1/jobs")
    with_query = await expect_refused_handshake(server.address, "/v1/live?key=cpx_1")
    async with httpx.AsyncClient(base_url=server.address) as client:
        plain = await client.get("/v1/live")
        garbled = await client.get(
            "/v1/live", headers={"Connection": "Upgrade", "Upgrade": "websocket"}
        )
        with_body = await client.post(
            "/v1/live",
            headers={"Connection": "Upgrade", "Upgrade": "websocket"},
            content=b"x" * 10,
        )
        long = await client.get(
            "/v1/live",
            headers={"Connection": "Upgrade", "Upgrade": "websocket", "X-Long": "x" * 9000},
        )
    assert (elsewhere[0], elsewhere[1]["code"]) == (404, "route_unknown")
    assert (with_query[0], with_query[1]["code"]) == (422, "request_invalid")
    assert (plain.status_code, plain.json()["code"]) == (426, "upgrade_required")
    assert plain.headers["upgrade"] == "websocket"
    assert garbled.status_code == 400
    assert (with_body.status_code, with_body.json()["code"]) == (400, "request_malformed")
    assert (long.status_code, long.json()["code"]) == (431, "head_too_large")
    await server.wait_until_disconnected()


async def test_compression_is_declined_and_the_subprotocol_is_accepted(
    server: WebSocketGateway,
) -> None:
    async with open_websocket(
        server.address, compression="deflate", subprotocols=["other", "circumplex.v1"]
    ) as socket:
        assert socket.subprotocol == "circumplex.v1"
        assert socket.response is not None
        assert "Sec-WebSocket-Extensions" not in socket.response.headers
        assert len(socket.response.headers["X-Trace-Id"]) == 32
