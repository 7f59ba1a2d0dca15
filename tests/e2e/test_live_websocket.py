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
from circumplex_client.live import Frame, Sound

from tests.integration.javascript import session
from tests.integration.relay import Relay, relaying
from tests.integration.sockets import (
    END,
    PATIENCE_SECONDS,
    hear,
    live_url,
    opened,
    rest_of,
    say,
)

TOLERANCE = 1e-5
FRAMES = 40
PICTURES_AND_SOUND = {
    "frames": {
        "encoding": "FRAME_ENCODING_JPEG",
        "audio": {"encoding": "SAMPLE_ENCODING_S16LE", "sample_rate_hz": 16000, "channels": 1},
    }
}


async def test_a_container_in_random_pieces_says_what_a_job_says(
    address: str, client: Client, talking_clip: Path, tmp_path: Path
) -> None:
    clip = remuxed(talking_clip, tmp_path / "talking.mkv")
    told, code = await streamed(address, {"container": {}}, list(pieces_of(clip.read_bytes())))
    result = await asyncio.to_thread(client.annotate, clip)

    finals = [each for each in results_of(told) if each["is_final"]]
    assert code == 1000
    assert told[-1]["summary"]["frames"] == str(len(result))
    assert len(finals) < len(results_of(told)), "nothing was provisional"
    assert [int(final["index"]) for final in finals] == result.index
    assert [final["time_seconds"] for final in finals] == result.time
    for name in ("valence", "arousal", "valence_smoothed", "arousal_std"):
        streamed_values = [final["tracks"][0]["estimate"][name] for final in finals]
        assert streamed_values == pytest.approx(getattr(result, name), abs=TOLERANCE)


async def test_a_page_gets_the_same_over_a_line_that_breaks(
    address: str, talking_clip: Path
) -> None:
    media: list[Frame | Sound] = []
    for frame in pictures_of(talking_clip):
        media += [frame, Sound(b"\0\1" * 640)]
    whole = await session(live_url(address), PICTURES_AND_SOUND, media)
    relay = Relay(int(address.rpartition(":")[2]), iter([60_000, 300_000]))
    async with relaying(relay) as port:
        url = live_url(f"http://127.0.0.1:{port}")
        broken = await session(url, PICTURES_AND_SOUND, media)

    assert relay.cuts == 2
    assert [final["index"] for final in finals_of(whole)] == list(range(FRAMES))
    assert [final["index"] for final in finals_of(broken)] == list(range(FRAMES))
    values, again = map(valences_of, (whole, broken))
    assert again == pytest.approx(values, abs=TOLERANCE)
    assert len(set(values)) > FRAMES / 2
    assert all(final["tracks"][0]["box"]["height"] > 50 for final in finals_of(broken))
    for told in (whole, broken):
        assert (told[-1]["type"], told[-1]["frames"]) == ("summary", FRAMES)


def finals_of(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for each in told if each["type"] == "frame_result" and each["is_final"]]


def valences_of(told: list[dict[str, Any]]) -> list[float]:
    return [final["tracks"][0]["estimate"]["valence"] for final in finals_of(told)]


async def streamed(
    address: str, config: dict[str, Any], media: list[bytes]
) -> tuple[list[dict[str, Any]], int | None]:
    """Everything that is said of media that come as fast as they are taken."""
    async with asyncio.timeout(6 * PATIENCE_SECONDS), opened(address) as socket:
        await say(socket, {"config": config})
        assert "config_ack" in await hear(socket)

        async def send() -> None:
            for message in media:
                await say(socket, message)
            await say(socket, END)

        sending = asyncio.create_task(send())
        told, code = await rest_of(socket)
        await sending
        return told, code


def results_of(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message["frame_result"] for message in told if "frame_result" in message]


def pieces_of(data: bytes) -> Iterator[bytes]:
    chance, start = random.Random(3), 0
    while start < len(data):
        size = chance.choice([1, 40, 3_000, 60_000])
        yield b"\1" + data[start : start + size]
        start += size


def remuxed(clip: Path, into: Path) -> Path:
    """The same packets in a file that can be read as it comes."""
    with av.open(str(clip)) as source, av.open(str(into), "w") as target:
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    return into


def pictures_of(clip: Path) -> Iterator[Frame]:
    """Its first frames, each a JPEG file, at a size that a page would send."""
    with av.open(str(clip)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number == FRAMES:
                return
            file = io.BytesIO()
            frame.to_image(width=640, height=360).save(file, "jpeg")
            yield Frame(number / 25, file.getvalue())
