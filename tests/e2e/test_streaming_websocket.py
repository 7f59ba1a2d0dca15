"""Streams over a WebSocket through the whole stack."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from circumplex_client import Client
from circumplex_client.live import AudioChunk, ImageFrame

from tests.integration.flaky_proxy import FlakyProxy, running_proxy
from tests.integration.javascript_client import run_session
from tests.integration.websocket_client import (
    END_MESSAGE,
    TIMEOUT_SECONDS,
    open_websocket,
    receive_message,
    receive_until_closed,
    send_message,
    websocket_url,
)

TOLERANCE = 1e-5
FRAME_COUNT = 40
FRAMES_AND_AUDIO_CONFIG = {
    "frames": {
        "encoding": "FRAME_ENCODING_JPEG",
        "audio": {"encoding": "SAMPLE_ENCODING_S16LE", "sample_rate_hz": 16000, "channels": 1},
    }
}


async def test_a_randomly_chunked_container_equals_a_job(
    address: str, client: Client, talking_clip: Path, tmp_path: Path
) -> None:
    clip = remux(talking_clip, tmp_path / "talking.mkv")
    messages, code = await run_stream(
        address, {"container": {}}, list(split_randomly(clip.read_bytes()))
    )
    result = await asyncio.to_thread(client.annotate, clip)

    finals = [each for each in select_results(messages) if each["is_final"]]
    assert code == 1000
    assert messages[-1]["summary"]["frames"] == str(len(result))
    assert len(finals) < len(select_results(messages)), "nothing was provisional"
    assert [int(final["index"]) for final in finals] == result.index
    assert [final["time_seconds"] for final in finals] == result.time
    for name in ("valence", "arousal", "valence_smoothed", "arousal_std"):
        streamed_values = [final["tracks"][0]["estimate"][name] for final in finals]
        assert streamed_values == pytest.approx(getattr(result, name), abs=TOLERANCE)


async def test_the_javascript_client_gets_equal_results_over_broken_connections(
    address: str, talking_clip: Path
) -> None:
    media: list[ImageFrame | AudioChunk] = []
    for frame in make_jpeg_frames(talking_clip):
        media += [frame, AudioChunk(b"\0\1" * 640)]
    whole = await run_session(websocket_url(address), FRAMES_AND_AUDIO_CONFIG, media)
    proxy = FlakyProxy(int(address.rpartition(":")[2]), iter([60_000, 300_000]))
    async with running_proxy(proxy) as port:
        url = websocket_url(f"http://127.0.0.1:{port}")
        broken = await run_session(url, FRAMES_AND_AUDIO_CONFIG, media)

    assert proxy.cut_count == 2
    assert [final["index"] for final in select_final_results(whole)] == list(range(FRAME_COUNT))
    assert [final["index"] for final in select_final_results(broken)] == list(range(FRAME_COUNT))
    values, repeated = map(list_valences, (whole, broken))
    assert repeated == pytest.approx(values, abs=TOLERANCE)
    assert len(set(values)) > FRAME_COUNT / 2
    assert all(final["tracks"][0]["box"]["height"] > 50 for final in select_final_results(broken))
    for messages in (whole, broken):
        assert (messages[-1]["type"], messages[-1]["frames"]) == ("summary", FRAME_COUNT)


def select_final_results(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for each in messages if each["type"] == "frame_result" and each["is_final"]]


def list_valences(messages: list[dict[str, Any]]) -> list[float]:
    return [final["tracks"][0]["estimate"]["valence"] for final in select_final_results(messages)]


async def run_stream(
    address: str, config: dict[str, Any], media: list[bytes]
) -> tuple[list[dict[str, Any]], int | None]:
    """Send media as fast as they are accepted; returns all messages and the close code."""
    async with asyncio.timeout(6 * TIMEOUT_SECONDS), open_websocket(address) as socket:
        await send_message(socket, {"config": config})
        assert "config_ack" in await receive_message(socket)

        async def send() -> None:
            for message in media:
                await send_message(socket, message)
            await send_message(socket, END_MESSAGE)

        sending = asyncio.create_task(send())
        messages, code = await receive_until_closed(socket)
        await sending
        return messages, code


def select_results(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message["frame_result"] for message in messages if "frame_result" in message]


def split_randomly(data: bytes) -> Iterator[bytes]:
    chance, start = random.Random(3), 0
    while start < len(data):
        size = chance.choice([1, 40, 3_000, 60_000])
        yield b"\1" + data[start : start + size]
        start += size


def remux(clip: Path, into: Path) -> Path:
    """Copy the packets into a container that can be read from its first byte on."""
    with av.open(str(clip)) as source, av.open(str(into), "w") as target:
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    return into


def make_jpeg_frames(clip: Path) -> Iterator[ImageFrame]:
    """Yield the first frames as JPEG files, at a size that a page would send."""
    with av.open(str(clip)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number == FRAME_COUNT:
                return
            file = io.BytesIO()
            frame.to_image(width=640, height=360).save(file, "jpeg")
            yield ImageFrame(number / 25, file.getvalue())
