"""What a stream may not bring, or may though it is odd: each message or medium on its own."""

from __future__ import annotations

import math
import random
import struct
from pathlib import Path

import grpc
import pytest
from circumplex.v1 import annotation_pb2 as pb
from circumplex_client.live import packets

from tests.e2e.strangers import (
    Request,
    call,
    call_when_there_is_room,
    chunk,
    config,
    frame,
    moments,
    of_container,
    of_frames,
    sound,
)

PCM = pb.AudioFormat(encoding=pb.SAMPLE_ENCODING_S16LE, sample_rate_hz=16_000, channels=1)
FLOATS = pb.AudioFormat(encoding=pb.SAMPLE_ENCODING_F32LE, sample_rate_hz=16_000, channels=1)
CROP = pb.FRAME_ENCODING_FACE_CROP
RGB = pb.FRAME_ENCODING_RGB24
NOISE = random.Random(1).randbytes(50_000)

REFUSED: dict[str, tuple[list[Request], str]] = {
    "nothing at all": ([], "STREAM_OUT_OF_ORDER"),
    "media before the config": ([frame(0, b"jpeg")], "STREAM_OUT_OF_ORDER"),
    "an empty message first": ([Request()], "STREAM_OUT_OF_ORDER"),
    "a config of nothing": ([config()], "REQUEST_INVALID"),
    "two configs": ([of_frames(), of_frames()], "STREAM_OUT_OF_ORDER"),
    "an empty message": ([of_frames(), Request()], "STREAM_OUT_OF_ORDER"),
    "a container among frames": ([of_frames(), chunk(b"x")], "STREAM_OUT_OF_ORDER"),
    "a frame in a container": ([of_container(), frame(0, b"x")], "STREAM_OUT_OF_ORDER"),
    "sound not announced": ([of_frames(), sound(b"ab")], "STREAM_OUT_OF_ORDER"),
    "half a sample": ([of_frames(audio=PCM), sound(b"abc")], "REQUEST_INVALID"),
    "a time that is no number": ([of_frames(), frame(math.nan, b"x")], "REQUEST_INVALID"),
    "an infinite time": ([of_frames(), frame(math.inf, b"x")], "REQUEST_INVALID"),
    "a time twice": ([of_frames(), frame(1, b"x"), frame(1, b"x")], "REQUEST_INVALID"),
    "a time before": ([of_frames(), frame(1, b"x"), frame(0, b"x")], "REQUEST_INVALID"),
    "sound at no time": ([of_frames(audio=PCM), sound(b"ab", math.nan)], "REQUEST_INVALID"),
    "too long": ([of_frames(), frame(0, b"x"), frame(1e6, b"x")], "CLIP_TOO_LONG"),
    "an encoding of tomorrow": ([of_frames(99)], "REQUEST_INVALID"),
    "faces of tomorrow": ([config(frames=pb.FrameMedia(encoding=1), faces=99)], "REQUEST_INVALID"),
    "a picture without size": ([of_frames(RGB)], "REQUEST_INVALID"),
    "a picture of another size": (
        [of_frames(RGB, width=64, height=64), frame(0, bytes(100))],
        "REQUEST_INVALID",
    ),
    "a picture without end": (
        [of_frames(RGB, width=2**31, height=2**31)],
        "CLIP_TOO_MANY_PIXELS",
    ),
    "half a crop": ([of_frames(CROP), frame(0, bytes(100))], "REQUEST_INVALID"),
    "sound without rate": (
        [of_frames(audio=pb.AudioFormat(encoding=1, channels=1))],
        "REQUEST_INVALID",
    ),
    "a million channels": (
        [of_frames(audio=pb.AudioFormat(encoding=1, sample_rate_hz=16_000, channels=10**6))],
        "REQUEST_INVALID",
    ),
    "a container that drops frames": (
        [config(container=pb.ContainerMedia(), overload_policy=2)],
        "REQUEST_INVALID",
    ),
    "a container of no bytes": ([of_container()], "CLIP_NOT_MEDIA"),
    "a container of noise": ([of_container(), chunk(NOISE)], "CLIP_NOT_MEDIA"),
    "a playlist": ([of_container(), chunk(b"#EXTM3U\nfile:///etc/passwd\n")], "CLIP_NOT_MEDIA"),
}


@pytest.fixture(scope="module")
def film(talking_clip: Path) -> bytes:
    """The talking face as a file that can be streamed."""
    return b"".join(data for _, data in packets.rewrite(talking_clip))


@pytest.mark.parametrize(("requests", "reason"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_cannot_come_is_refused_with_its_reason(
    target: str, requests: list[Request], reason: str
) -> None:
    heard = await call_when_there_is_room(target, requests)

    assert (heard.code, heard.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert set(heard.kinds) <= {"config_ack"}


@pytest.mark.parametrize("kind", [frame(0, bytes(9 * 2**20)), chunk(bytes(9 * 2**20))])
async def test_a_giant_message_ends_its_own_call(target: str, kind: Request) -> None:
    first = of_frames() if kind.HasField("frame") else of_container()
    heard = await call_when_there_is_room(target, [first, kind])

    assert heard.code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_frames_that_are_no_pictures_are_left_out_one_by_one(
    target: str, jpegs: list[bytes]
) -> None:
    bad = {0: b"", 3: NOISE[:3000], 4: b"\x89PNG\r\n\x1a\n" + bytes(99), 9: jpegs[0][:20]}
    sent = [frame(index / 25, bad.get(index, data)) for index, data in enumerate(jpegs[:12])]
    heard = await call_when_there_is_room(target, [of_frames(), *sent])

    dropped = [each.frames_dropped for each in heard.responses if each.HasField("frames_dropped")]
    told = [run.first_index + place for run in dropped for place in range(run.count)]
    assert told == list(bad)
    assert {run.reason for run in dropped} == {pb.DROP_REASON_UNREADABLE}
    finals = [each.frame_result for each in heard.responses if each.frame_result.is_final]
    assert [each.index for each in finals] == [n for n in range(12) if n not in bad]
    assert (heard.summary.frames, heard.summary.frames_dropped) == (8, 4)


async def test_a_stream_may_have_nothing_in_it(target: str) -> None:
    bare = await call_when_there_is_room(target, [of_frames()])
    heard = [of_frames(audio=PCM), *(sound(bytes(3200)) for _ in range(20))]
    only_sound = await call_when_there_is_room(target, heard)

    assert (bare.summary.frames, only_sound.summary.frames) == (0, 0)


async def test_sound_may_be_anywhere_and_anything(target: str, jpegs: list[bytes]) -> None:
    """Far away, back again, twice at once; and no sound at all, but numbers that are none."""
    places = [0.0, 5.0, 0.1, 1e8, -1e8, 0.2, None]
    sounds = [sound(bytes(32_000), seconds) for seconds in places]
    lost = await call_when_there_is_room(
        target, [of_frames(audio=PCM), *moments(jpegs, 2), *sounds, frame(1.0, jpegs[2])]
    )
    odd = struct.pack("<4f", math.nan, math.inf, -math.inf, 3e38) * 4000
    loud = await call_when_there_is_room(
        target, [of_frames(audio=FLOATS), sound(odd), *moments(jpegs, 20)]
    )

    assert (lost.kinds["final"], loud.kinds["final"]) == (3, 20)
    values = [
        track.estimate.valence
        for each in (*lost.responses, *loud.responses)
        for track in each.frame_result.tracks
    ]
    assert all(map(math.isfinite, values))


async def test_a_truncated_container_ends_with_what_was_in_it(target: str, film: bytes) -> None:
    half = [of_container(), chunk(film[: len(film) // 2])]
    heard = await call_when_there_is_room(target, half)
    start = await call_when_there_is_room(target, [of_container(), chunk(film[:100])])

    assert 0 < heard.kinds["final"] < 75
    assert heard.kinds["final"] == heard.summary.frames
    assert start.reason == "CLIP_TRUNCATED"


async def test_metadata_may_be_garbage(target: str, jpegs: list[bytes]) -> None:
    requests = [of_frames(), *moments(jpegs, 2)]
    good = await call(
        target, requests, metadata=(("x-trace-id", "x" * 500), ("noise-bin", NOISE[:1000]))
    )
    two = await call(target, requests, metadata=(("authorization", "Bearer a"), ("x-api-key", "b")))
    large = await call(target, requests, metadata=(("noise", "n" * 20_000),))

    assert good.kinds["final"] == 2
    assert two.reason == "UNAUTHENTICATED"
    assert large.code is grpc.StatusCode.RESOURCE_EXHAUSTED
