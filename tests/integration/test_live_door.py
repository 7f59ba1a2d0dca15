"""The WebSocket door: what comes in and goes out, who is refused, and that nothing is left."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncGenerator

import httpx
import pytest

from service.api.app import create_app
from service.errors import (
    CircumplexError,
    InferenceUnavailable,
    StreamOverrun,
    StreamSuperseded,
)
from service.office.gateway import Gateway
from tests.integration.live_doors import Door, door_of
from tests.integration.pretended_streams import PretendedStreams, raised
from tests.integration.servers import serving
from tests.integration.sockets import (
    END,
    JPEG_FRAMES,
    PATIENCE_SECONDS,
    frame,
    hear,
    opened,
    refusal,
    rest_of,
    say,
    sound,
)

FRAMES_AND_SOUND = {
    "config": {
        "frames": {
            "encoding": "FRAME_ENCODING_JPEG",
            "audio": {"encoding": "SAMPLE_ENCODING_S16LE", "sample_rate_hz": 16000, "channels": 1},
        },
        "overload_policy": "OVERLOAD_POLICY_DROP_OLDEST",
    }
}


@pytest.fixture
async def door(gateway: Gateway) -> AsyncGenerator[Door]:
    async with door_of(gateway) as door:
        yield door


async def test_a_session_goes_as_documented(door: Door) -> None:
    async with opened(door.address) as socket:
        await say(socket, FRAMES_AND_SOUND)
        ack = await hear(socket)
        await say(socket, frame(b"one", 0.5))
        first = await hear(socket)
        await say(socket, sound(b"\1\2"))
        await say(socket, sound(b"\3\4", 0.25))
        await say(socket, END)
        rest, code = await rest_of(socket)
    await door.all_gone()

    assert ack["config_ack"]["stream_id"] == "pretended"
    assert first["frame_result"] == {
        "index": "0",
        "time_seconds": 0.0,
        "is_final": True,
        "tracks": [],
        "missing_reason": "MISSING_REASON_UNSPECIFIED",
        "resume_token": "token-of-0",
    }
    assert [next(iter(message)) for message in rest] == ["frame_result", "frame_result", "summary"]
    assert rest[-1]["summary"]["frames"] == "3"
    assert code == 1000
    config, picture, follows, placed = door.streams.requests
    assert config.config.frames.audio.sample_rate_hz == 16000
    assert (picture.frame.data, picture.frame.time_seconds) == (b"one", 0.5)
    assert (follows.audio.data, follows.audio.HasField("time_seconds")) == (b"\1\2", False)
    assert (placed.audio.data, placed.audio.time_seconds) == (b"\3\4", 0.25)
    await door.counted(1000, 1)


async def test_a_container_comes_in_pieces_of_any_size(door: Door) -> None:
    async with opened(door.address) as socket:
        await say(socket, {"config": {"container": {"audio_stream": 2}}})
        for piece in (b"", b"a", b"b" * 300_000):
            await say(socket, b"\1" + piece)
        await say(socket, END)
        _, code = await rest_of(socket)
    assert code == 1000
    config, *pieces = door.streams.requests
    assert config.config.container.audio_stream == 2
    assert [len(piece.container.data) for piece in pieces] == [0, 1, 300_000]


GARBAGE: list[tuple[str, object, str]] = [
    ("no JSON", "{", "request_invalid"),
    ("no object", "[1]", "request_invalid"),
    ("a number", "7", "request_invalid"),
    ("nothing", "{}", "stream_out_of_order"),
    ("nested beyond reason", "[" * 50_000, "request_invalid"),
    ("an unknown field", {"config": {"frames": {"colour": 1}}}, "request_invalid"),
    ("two kinds of media", {"config": {"frames": {}, "container": {}}}, "request_invalid"),
    ("media as text", {"container": {"data": "AAAA"}}, "stream_out_of_order"),
    ("a text too long", " " * 70_000, "request_invalid"),
    ("no byte", b"", "request_invalid"),
    ("an unknown kind", b"\7abc", "request_invalid"),
    ("a frame without a time", b"\2\0\0", "request_invalid"),
    ("a frame at no time", frame(seconds=float("nan")), "request_invalid"),
    ("sound at the end of time", sound(seconds=float("inf")), "request_invalid"),
]


@pytest.mark.parametrize("is_first", [True, False], ids=["at first", "later"])
async def test_garbage_is_refused_in_words(door: Door, is_first: bool) -> None:
    for what, message, code in GARBAGE:
        async with opened(door.address) as socket:
            if not is_first:
                await say(socket, JPEG_FRAMES)
                await hear(socket)
            await say(socket, message)
            told, close_code = await rest_of(socket)
        assert [list(each) for each in told] == [["error"]], what
        error = told[0]["error"]
        assert (error["code"], error["retryable"]) == (code, False), what
        assert error["detail"]
        assert "\n" not in error["detail"]
        assert close_code == 4422, what
    await door.all_gone()
    await door.counted(4422, len(GARBAGE))


@pytest.mark.parametrize(
    ("error", "close_code", "code", "retryable"),
    [
        (raised(StreamOverrun), 4429, "stream_overrun", True),
        (raised(StreamSuperseded), 4409, "stream_superseded", False),
        (raised(InferenceUnavailable), 1013, "inference_unavailable", True),
        (ZeroDivisionError("a secret"), 4500, "internal_error", False),
    ],
)
async def test_each_error_has_its_close_code(
    gateway: Gateway, error: Exception, close_code: int, code: str, retryable: bool
) -> None:
    async with door_of(gateway, PretendedStreams(fails=error)) as door:
        async with opened(door.address) as socket:
            await say(socket, JPEG_FRAMES)
            await hear(socket)
            await say(socket, frame())
            told, closed_with = await rest_of(socket)
        assert closed_with == close_code
        said = told[-1]["error"]
        assert (said["code"], said["retryable"]) == (code, retryable)
        assert socket.close_reason == code
        assert "secret" not in json.dumps(said)
        if isinstance(error, CircumplexError):
            assert said["detail"] == "as it was pretended"


async def test_a_gateway_that_stops_says_where_to_go_on(gateway: Gateway) -> None:
    app = create_app(dataclasses.replace(gateway, streams=PretendedStreams()))
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()

    async def serve() -> None:
        async with serving(app) as url:
            address.set_result(url)
            await stop.wait()

    async with asyncio.timeout(2 * PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
        tasks.create_task(serve())
        async with opened(await address) as socket:
            await say(socket, JPEG_FRAMES)
            await hear(socket)
            await say(socket, frame())
            await hear(socket)
            stop.set()
            told, code = await rest_of(socket)
    assert told[0] == {"draining": {"resume_token": "token-of-0"}}
    assert told[1]["error"]["code"] == "gateway_draining"
    assert code == 1012


async def test_pages_of_other_origins_stay_outside(gateway: Gateway) -> None:
    async with door_of(
        gateway, websocket_origins="https://a.example, https://b.example:444"
    ) as door:
        own = door.address
        for origin in (None, own, "https://a.example", "HTTPS://B.example:444"):
            async with opened(door.address, origin=origin) as socket:
                await say(socket, JPEG_FRAMES)
                assert "config_ack" in await hear(socket)
        foreign = ("null", "https://b.example", "http://a.example", f"{own}1", "http://127.0.0.1")
        for origin in (*foreign, "https://a.example.evil.example"):
            status, problem = await refusal(door.address, origin=origin)
            assert (status, problem["code"]) == (403, "origin_refused"), origin
        assert len(door.streams.callers) == 4
        await door.counted(403, len(foreign) + 1)


async def test_all_pages_come_in_where_all_may(gateway: Gateway) -> None:
    async with (
        door_of(gateway, websocket_origins="*") as door,
        opened(door.address, origin="https://somewhere.example") as socket,
    ):
        await say(socket, JPEG_FRAMES)
        assert "config_ack" in await hear(socket)


async def test_what_is_no_stream_is_answered_over_http(door: Door) -> None:
    elsewhere = await refusal(door.address, "/v1/jobs")
    with_query = await refusal(door.address, "/v1/live?key=cpx_1")
    async with httpx.AsyncClient(base_url=door.address) as client:
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
    await door.all_gone()


async def test_nothing_is_compressed_and_the_protocol_is_answered(door: Door) -> None:
    async with opened(
        door.address, compression="deflate", subprotocols=["other", "circumplex.v1"]
    ) as socket:
        assert socket.subprotocol == "circumplex.v1"
        assert "Sec-WebSocket-Extensions" not in socket.response.headers
        assert len(socket.response.headers["X-Trace-Id"]) == 32
