"""The JavaScript client against the gateway's WebSocket route, over flaky connections."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from circumplex_client.live import MediaChunk

from service.errors import StreamOverrun, StreamSuperseded
from service.gateway.context import GatewayContext
from service.gateway.rest.app import create_app
from tests.integration.fake_media import (
    FRAME_COUNT,
    expected_audio_flag,
    expected_valences,
    make_container,
    make_frames,
)
from tests.integration.fake_streams import FakeStreams, make_error
from tests.integration.flaky_proxy import FlakyProxy, running_proxy
from tests.integration.javascript_client import StubStreamManager, run_node, run_session
from tests.integration.servers import serving
from tests.integration.stub_gateway import StubAnnotationServicer, make_error_status
from tests.integration.websocket_client import JPEG_CONFIG, websocket_url

FRAME_CONFIG = {
    "frames": {
        "encoding": "FRAME_ENCODING_JPEG",
        "audio": {"encoding": "SAMPLE_ENCODING_S16LE", "sample_rate_hz": 100, "channels": 1},
    }
}
CONTAINER_CONFIG = {"container": {"audio_stream": 1}}


@asynccontextmanager
async def serving_streams_over_websocket(
    gateway: GatewayContext, streams: Any
) -> AsyncGenerator[str]:
    async with serving(create_app(dataclasses.replace(gateway, streams=streams))) as address:
        yield address


def valences_by_index(messages: Iterable[Mapping[str, Any]], *, final: bool) -> dict[int, float]:
    """Return valences by frame index, in order of arrival; fails on repeated indices."""
    values: dict[int, float] = {}
    for message in messages:
        if message["type"] == "frame_result" and message["is_final"] == final:
            assert message["index"] not in values
            values[message["index"]] = message["tracks"][0]["estimate"]["valence"]
    return values


async def test_the_unit_tests_of_the_client_pass() -> None:
    status, out, err = await run_node("--test", "--test-reporter=tap", "test/*.test.js")
    assert status == 0, out + err
    assert "# fail 0" in out
    assert "# pass 0" not in out


@pytest.mark.parametrize(
    ("config", "chunks", "keeps_stream_state"),
    [
        (FRAME_CONFIG, make_frames(), True),
        (FRAME_CONFIG, make_frames(), False),
        (CONTAINER_CONFIG, make_container(), False),
    ],
    ids=["frames-same_gateway", "frames-another_gateway", "container-another_gateway"],
)
async def test_cut_connections_leave_no_gap_and_no_repetition(
    gateway: GatewayContext,
    config: Mapping[str, Any],
    chunks: list[MediaChunk],
    keeps_stream_state: bool,
) -> None:
    generator = random.Random(4)
    byte_budgets = iter([generator.choice([100, 4_000, 12_000, 30_000]) for _ in range(5)])
    streams = StubStreamManager(StubAnnotationServicer(keeps_stream_state=keeps_stream_state))
    async with serving_streams_over_websocket(gateway, streams) as address:
        proxy = FlakyProxy(int(address.rpartition(":")[2]), byte_budgets)
        async with running_proxy(proxy) as port:
            url = websocket_url(f"http://127.0.0.1:{port}")
            messages = await run_session(url, config, chunks, pause_milliseconds=1)

    assert proxy.cut_count >= 3
    assert len(streams.callers) >= 3
    finals = valences_by_index(messages, final=True)
    provisional = valences_by_index(messages, final=False)
    assert list(finals) == list(range(FRAME_COUNT))
    assert list(finals.values()) == pytest.approx(expected_valences(chunks), abs=1e-12)
    assert list(provisional) == sorted(provisional)
    assert messages[0]["type"] == "config_ack"
    assert messages[-1]["type"] == "summary"
    assert (messages[-1]["frames"], messages[-1]["flags"]) == (
        FRAME_COUNT,
        list(expected_audio_flag(chunks)),
    )


async def test_a_drained_stream_resumes_at_another_gateway(gateway: GatewayContext) -> None:
    chunks, servicer = make_frames(), StubAnnotationServicer(keeps_stream_state=False)
    servicer.drain_at = 40
    async with serving_streams_over_websocket(gateway, StubStreamManager(servicer)) as address:
        messages = await run_session(websocket_url(address), FRAME_CONFIG, chunks)
    assert list(valences_by_index(messages, final=True).values()) == pytest.approx(
        expected_valences(chunks), abs=1e-12
    )
    assert [bool(config.resume_token) for config in servicer.configs] == [False, True]


async def test_a_stream_that_begins_anew_keeps_the_version_of_its_model(
    gateway: GatewayContext,
) -> None:
    servicer = StubAnnotationServicer()
    servicer.drain_at = 3  # before the first final result, and its resume token
    config = {**FRAME_CONFIG, "model": "mini"}
    async with serving_streams_over_websocket(gateway, StubStreamManager(servicer)) as address:
        messages = await run_session(websocket_url(address), config, make_frames())
    assert [config.model for config in servicer.configs] == ["mini", "mini@1"]
    assert [config.resume_token for config in servicer.configs] == ["", ""]
    assert messages[0]["model"] == "mini@1"


async def test_a_full_gateway_is_retried(gateway: GatewayContext) -> None:
    chunks, servicer = make_frames(10), StubAnnotationServicer()
    servicer.next_errors = [make_error_status(grpc.StatusCode.RESOURCE_EXHAUSTED, "streams_full")]
    async with serving_streams_over_websocket(gateway, StubStreamManager(servicer)) as address:
        messages = await run_session(websocket_url(address), FRAME_CONFIG, chunks)
    assert list(valences_by_index(messages, final=True).values()) == pytest.approx(
        expected_valences(chunks), abs=1e-12
    )


@pytest.mark.parametrize("error", [StreamSuperseded, StreamOverrun])
async def test_a_permanent_error_is_raised(gateway: GatewayContext, error: Any) -> None:
    streams = FakeStreams(error=make_error(error))
    async with serving_streams_over_websocket(gateway, streams) as address:
        messages = await run_session(
            websocket_url(address), JPEG_CONFIG["config"], make_frames(10)[::2]
        )
    assert [message for message in messages if message["type"] == "failed"] == [
        {
            "type": "failed",
            "code": error.code,
            "retryable": error.retryable,
            "message": "as it was pretended",
        }
    ]
    assert len(streams.callers) == 1


async def test_an_absent_gateway_is_an_error_after_retries() -> None:
    messages = await run_session(
        "ws://127.0.0.1:1/v1/live", JPEG_CONFIG["config"], [], reconnectTimeoutSeconds=0.5
    )
    assert messages[-1]["code"] == "connection_lost"
