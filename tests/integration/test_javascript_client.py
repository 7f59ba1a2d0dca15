"""The JavaScript client against a gateway's real door, over lines that break."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from circumplex_client.live import Piece

from service.api.app import create_app
from service.errors import StreamOverrun, StreamSuperseded
from service.office.gateway import Gateway
from tests.integration.javascript import StandInBehindTheDoor, node, session
from tests.integration.pretended_streams import PretendedStreams, raised
from tests.integration.relay import Relay, relaying
from tests.integration.servers import serving
from tests.integration.sockets import JPEG_FRAMES, live_url
from tests.integration.stand_in import StandIn, refusal
from tests.integration.streaming import FRAMES, container, single_frames, sound_of, truth_of

SINGLE = {
    "frames": {
        "encoding": "FRAME_ENCODING_JPEG",
        "audio": {"encoding": "SAMPLE_ENCODING_S16LE", "sample_rate_hz": 100, "channels": 1},
    }
}
CONTAINER = {"container": {"audio_stream": 1}}


@asynccontextmanager
async def door_to(gateway: Gateway, streams: Any) -> AsyncGenerator[str]:
    async with serving(create_app(dataclasses.replace(gateway, streams=streams))) as address:
        yield address


def values_of(told: Iterable[Mapping[str, Any]], *, final: bool) -> dict[int, float]:
    """By index, in the order of their coming; fails where one comes twice."""
    values: dict[int, float] = {}
    for message in told:
        if message["type"] == "frame_result" and message["is_final"] == final:
            assert message["index"] not in values
            values[message["index"]] = message["tracks"][0]["estimate"]["valence"]
    return values


async def test_its_parts_do_what_they_say() -> None:
    status, out, err = await node("--test", "--test-reporter=tap", "test/*.test.js")
    assert status == 0, out + err
    assert "# fail 0" in out
    assert "# pass 0" not in out


@pytest.mark.parametrize(
    ("config", "pieces", "remembers"),
    [
        (SINGLE, single_frames(), True),
        (SINGLE, single_frames(), False),
        (CONTAINER, container(), False),
    ],
    ids=["frames-same_gateway", "frames-another_gateway", "container-another_gateway"],
)
async def test_cut_connections_leave_no_gap_and_no_repetition(
    gateway: Gateway, config: Mapping[str, Any], pieces: list[Piece], remembers: bool
) -> None:
    chance = random.Random(4)
    lives = iter([chance.choice([100, 4_000, 12_000, 30_000]) for _ in range(5)])
    streams = StandInBehindTheDoor(StandIn(remembers=remembers))
    async with door_to(gateway, streams) as address:
        relay = Relay(int(address.rpartition(":")[2]), lives)
        async with relaying(relay) as port:
            url = live_url(f"http://127.0.0.1:{port}")
            told = await session(url, config, pieces, pause_milliseconds=1)

    assert relay.cuts >= 3
    assert len(streams.callers) >= 3
    finals, provisional = values_of(told, final=True), values_of(told, final=False)
    assert list(finals) == list(range(FRAMES))
    assert list(finals.values()) == pytest.approx(truth_of(pieces), abs=1e-12)
    assert list(provisional) == sorted(provisional)
    assert told[0]["type"] == "config_ack"
    assert told[-1]["type"] == "summary"
    assert (told[-1]["frames"], told[-1]["flags"]) == (FRAMES, list(sound_of(pieces)))


async def test_a_gateway_that_drains_is_left_for_another(gateway: Gateway) -> None:
    pieces, stand_in = single_frames(), StandIn(remembers=False)
    stand_in.drain_at = 40
    async with door_to(gateway, StandInBehindTheDoor(stand_in)) as address:
        told = await session(live_url(address), SINGLE, pieces)
    assert list(values_of(told, final=True).values()) == pytest.approx(truth_of(pieces), abs=1e-12)
    assert [bool(config.resume_token) for config in stand_in.configs] == [False, True]


async def test_a_full_gateway_is_asked_again(gateway: Gateway) -> None:
    pieces, stand_in = single_frames(10), StandIn()
    stand_in.refusals = [refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "streams_full")]
    async with door_to(gateway, StandInBehindTheDoor(stand_in)) as address:
        told = await session(live_url(address), SINGLE, pieces)
    assert list(values_of(told, final=True).values()) == pytest.approx(truth_of(pieces), abs=1e-12)


@pytest.mark.parametrize("error", [StreamSuperseded, StreamOverrun])
async def test_an_error_that_stays_is_told(gateway: Gateway, error: Any) -> None:
    streams = PretendedStreams(fails=raised(error))
    async with door_to(gateway, streams) as address:
        told = await session(live_url(address), JPEG_FRAMES["config"], single_frames(10)[::2])
    assert [message for message in told if message["type"] == "failed"] == [
        {
            "type": "failed",
            "code": error.code,
            "retryable": error.retryable,
            "message": "as it was pretended",
        }
    ]
    assert len(streams.callers) == 1


async def test_nobody_there_is_told_after_a_while() -> None:
    told = await session(
        "ws://127.0.0.1:1/v1/live", JPEG_FRAMES["config"], [], reconnectSeconds=0.5
    )
    assert told[-1]["code"] == "connection_lost"
