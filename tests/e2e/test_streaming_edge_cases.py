"""Refused and unusual streams, message by message and medium by medium."""

from __future__ import annotations

import math
import random
import struct
from pathlib import Path
from typing import cast

import grpc
import pytest
from circumplex.v1 import annotation_pb2 as pb
from circumplex_client.live import pyav_io

from tests.e2e.wire_client import (
    Request,
    call_until_admitted,
    make_audio,
    make_chunk,
    make_config,
    make_container_config,
    make_frame,
    make_frames,
    make_frames_config,
    run_call,
)

S16_FORMAT = pb.AudioFormat(encoding=pb.SAMPLE_ENCODING_S16LE, sample_rate_hz=16_000, channels=1)
F32_FORMAT = pb.AudioFormat(encoding=pb.SAMPLE_ENCODING_F32LE, sample_rate_hz=16_000, channels=1)
CROP_ENCODING = pb.FRAME_ENCODING_FACE_CROP
RGB_ENCODING = pb.FRAME_ENCODING_RGB24
NOISE = random.Random(1).randbytes(50_000)

REFUSED_STREAMS: dict[str, tuple[list[Request], str]] = {
    "no message": ([], "STREAM_OUT_OF_ORDER"),
    "media before the config": ([make_frame(0, b"jpeg")], "STREAM_OUT_OF_ORDER"),
    "an empty message first": ([Request()], "STREAM_OUT_OF_ORDER"),
    "an empty config": ([make_config()], "REQUEST_INVALID"),
    "two configs": ([make_frames_config(), make_frames_config()], "STREAM_OUT_OF_ORDER"),
    "an empty message": ([make_frames_config(), Request()], "STREAM_OUT_OF_ORDER"),
    "a container among frames": ([make_frames_config(), make_chunk(b"x")], "STREAM_OUT_OF_ORDER"),
    "a frame in a container": (
        [make_container_config(), make_frame(0, b"x")],
        "STREAM_OUT_OF_ORDER",
    ),
    "audio not announced": ([make_frames_config(), make_audio(b"ab")], "STREAM_OUT_OF_ORDER"),
    "half a sample": (
        [make_frames_config(audio=S16_FORMAT), make_audio(b"abc")],
        "REQUEST_INVALID",
    ),
    "a time that is no number": (
        [make_frames_config(), make_frame(math.nan, b"x")],
        "REQUEST_INVALID",
    ),
    "an infinite time": ([make_frames_config(), make_frame(math.inf, b"x")], "REQUEST_INVALID"),
    "a repeated time": (
        [make_frames_config(), make_frame(1, b"x"), make_frame(1, b"x")],
        "REQUEST_INVALID",
    ),
    "an earlier time": (
        [make_frames_config(), make_frame(1, b"x"), make_frame(0, b"x")],
        "REQUEST_INVALID",
    ),
    "audio with a time that is no number": (
        [make_frames_config(audio=S16_FORMAT), make_audio(b"ab", math.nan)],
        "REQUEST_INVALID",
    ),
    "too long": (
        [make_frames_config(), make_frame(0, b"x"), make_frame(1e6, b"x")],
        "CLIP_TOO_LONG",
    ),
    "an unknown encoding": ([make_frames_config(cast(pb.FrameEncoding, 99))], "REQUEST_INVALID"),
    "unknown faces": (
        [
            make_config(
                frames=pb.FrameMedia(encoding=pb.FRAME_ENCODING_JPEG), faces=cast(pb.Faces, 99)
            )
        ],
        "REQUEST_INVALID",
    ),
    "a frame without size": ([make_frames_config(RGB_ENCODING)], "REQUEST_INVALID"),
    "a frame of another size": (
        [make_frames_config(RGB_ENCODING, width=64, height=64), make_frame(0, bytes(100))],
        "REQUEST_INVALID",
    ),
    "a frame of too many pixels": (
        [make_frames_config(RGB_ENCODING, width=2**31, height=2**31)],
        "CLIP_TOO_MANY_PIXELS",
    ),
    "half a crop": (
        [make_frames_config(CROP_ENCODING), make_frame(0, bytes(100))],
        "REQUEST_INVALID",
    ),
    "audio without rate": (
        [make_frames_config(audio=pb.AudioFormat(encoding=pb.SAMPLE_ENCODING_S16LE, channels=1))],
        "REQUEST_INVALID",
    ),
    "a million channels": (
        [
            make_frames_config(
                audio=pb.AudioFormat(
                    encoding=pb.SAMPLE_ENCODING_S16LE, sample_rate_hz=16_000, channels=10**6
                )
            )
        ],
        "REQUEST_INVALID",
    ),
    "a container that drops frames": (
        [
            make_config(
                container=pb.ContainerMedia(), overload_policy=pb.OVERLOAD_POLICY_DROP_OLDEST
            )
        ],
        "REQUEST_INVALID",
    ),
    "an empty container": ([make_container_config()], "CLIP_NOT_MEDIA"),
    "a container of noise": ([make_container_config(), make_chunk(NOISE)], "CLIP_NOT_MEDIA"),
    "a playlist": (
        [make_container_config(), make_chunk(b"#EXTM3U\nfile:///etc/passwd\n")],
        "CLIP_NOT_MEDIA",
    ),
}


@pytest.fixture(scope="module")
def container_bytes(talking_clip: Path) -> bytes:
    """The talking clip as fragmented MP4."""
    return b"".join(data for _, data in pyav_io.remux_fragmented(talking_clip))


@pytest.mark.parametrize(
    ("requests", "reason"), REFUSED_STREAMS.values(), ids=REFUSED_STREAMS.keys()
)
async def test_an_invalid_stream_is_refused_with_its_reason(
    target: str, requests: list[Request], reason: str
) -> None:
    outcome = await call_until_admitted(target, requests)

    assert (outcome.code, outcome.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert set(outcome.response_counts) <= {"config_ack"}


@pytest.mark.parametrize("kind", [make_frame(0, bytes(9 * 2**20)), make_chunk(bytes(9 * 2**20))])
async def test_an_oversized_message_ends_only_its_call(target: str, kind: Request) -> None:
    first = make_frames_config() if kind.HasField("frame") else make_container_config()
    outcome = await call_until_admitted(target, [first, kind])

    assert outcome.code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_undecodable_frames_are_skipped(target: str, jpegs: list[bytes]) -> None:
    bad = {0: b"", 3: NOISE[:3000], 4: b"\x89PNG\r\n\x1a\n" + bytes(99), 9: jpegs[0][:20]}
    sent = [make_frame(index / 25, bad.get(index, data)) for index, data in enumerate(jpegs[:12])]
    outcome = await call_until_admitted(target, [make_frames_config(), *sent])

    dropped = [each.frames_dropped for each in outcome.responses if each.HasField("frames_dropped")]
    indices = [run.first_index + place for run in dropped for place in range(run.count)]
    assert indices == list(bad)
    assert {run.reason for run in dropped} == {pb.DROP_REASON_UNREADABLE}
    finals = [each.frame_result for each in outcome.responses if each.frame_result.is_final]
    assert [each.index for each in finals] == [n for n in range(12) if n not in bad]
    assert (outcome.summary.frames, outcome.summary.frames_dropped) == (8, 4)


async def test_a_stream_may_be_empty(target: str) -> None:
    bare = await call_until_admitted(target, [make_frames_config()])
    requests = [make_frames_config(audio=S16_FORMAT)]
    requests += (make_audio(bytes(3200)) for _ in range(20))
    audio_only = await call_until_admitted(target, requests)

    assert (bare.summary.frames, audio_only.summary.frames) == (0, 0)


async def test_audio_may_be_misplaced_or_malformed(target: str, jpegs: list[bytes]) -> None:
    """Audio at distant, backward and repeated times, and samples that are no numbers."""
    times = [0.0, 5.0, 0.1, 1e8, -1e8, 0.2, None]
    audio = [make_audio(bytes(32_000), seconds) for seconds in times]
    misplaced = await call_until_admitted(
        target,
        [
            make_frames_config(audio=S16_FORMAT),
            *make_frames(jpegs, 2),
            *audio,
            make_frame(1.0, jpegs[2]),
        ],
    )
    samples = struct.pack("<4f", math.nan, math.inf, -math.inf, 3e38) * 4000
    malformed = await call_until_admitted(
        target, [make_frames_config(audio=F32_FORMAT), make_audio(samples), *make_frames(jpegs, 20)]
    )

    assert (misplaced.response_counts["final"], malformed.response_counts["final"]) == (3, 20)
    values = [
        track.estimate.valence
        for each in (*misplaced.responses, *malformed.responses)
        for track in each.frame_result.tracks
    ]
    assert all(map(math.isfinite, values))


async def test_a_truncated_container_gives_its_readable_frames(
    target: str, container_bytes: bytes
) -> None:
    half = [make_container_config(), make_chunk(container_bytes[: len(container_bytes) // 2])]
    outcome = await call_until_admitted(target, half)
    start = await call_until_admitted(
        target, [make_container_config(), make_chunk(container_bytes[:100])]
    )

    assert 0 < outcome.response_counts["final"] < 75
    assert outcome.response_counts["final"] == outcome.summary.frames
    assert start.reason == "CLIP_TRUNCATED"


async def test_invalid_metadata_is_ignored(target: str, jpegs: list[bytes]) -> None:
    requests = [make_frames_config(), *make_frames(jpegs, 2)]
    good = await run_call(
        target, requests, metadata=(("x-trace-id", "x" * 500), ("noise-bin", NOISE[:1000]))
    )
    two = await run_call(
        target, requests, metadata=(("authorization", "Bearer a"), ("x-api-key", "b"))
    )
    large = await run_call(target, requests, metadata=(("noise", "n" * 20_000),))

    assert good.response_counts["final"] == 2
    assert two.reason == "UNAUTHENTICATED"
    assert large.code is grpc.StatusCode.RESOURCE_EXHAUSTED
