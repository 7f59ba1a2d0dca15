"""What children of streams say: it arrives as it was sent, and what cannot be true is refused."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import numpy as np
import pytest

from service.decoding.protocol import messages, stream_messages
from service.decoding.protocol.media_input import (
    END,
    encode_piece,
    encode_state,
    read_pieces,
    read_snapshot,
)
from service.decoding.protocol.stream_messages import InputExhausted, StreamMessage
from service.decoding.stream_account import StreamAccount
from service.domain.clip import ClipClosed, ClipOpened, FaceBox, Frame, TrackedFace
from service.domain.media import MediaInfo
from service.domain.stream import (
    MAX_SNAPSHOT_BYTES,
    AudioExtracted,
    FramesExtracted,
    FrameUnreadable,
    Snapshot,
    StreamAudio,
    StreamBytes,
    StreamFrame,
    StreamInput,
)
from service.errors import DecoderCrashed, StreamExpired

BOX = FaceBox(left=1.5, top=2.0, width=30.0, height=40.0, score=0.9)
MEDIA_INFO = MediaInfo(
    container="webm",
    video_streams=1,
    video_stream_index=0,
    video_codec="vp9",
    width=640,
    height=360,
    rotation_degrees=0,
    average_rate_hz=None,
    duration_seconds=None,
    frames_estimate=None,
    audio_codec=None,
    audio_rate_hz=None,
    audio_channels=None,
)


def make_frames_extracted(
    index: int = 0, count: int = 1, arrived_at: float = 5.0
) -> FramesExtracted:
    frames = tuple(
        Frame(index=index + k, time_seconds=k / 3, faces=(TrackedFace(track=1, box=BOX),))
        for k in range(count)
    )
    crops = np.random.default_rng(0).integers(0, 256, (count, 3, 112, 112), dtype=np.uint8)
    return FramesExtracted(
        frames=frames,
        crops=crops,
        arrived_at=(arrived_at,) * count,
        stage_seconds={"decode": 0.25, "face": 0.5},
    )


def make_audio_extracted(count: int = 1) -> AudioExtracted:
    waveform = np.random.default_rng(1).uniform(-1, 1, 98 * 160).astype(np.float32)
    return AudioExtracted(
        waveform=waveform,
        patch_starts=np.zeros(count, dtype=np.int64),
        stage_seconds={"sound": 0.125},
    )


SNAPSHOT = Snapshot(frames=1, samples=44_100, state=bytes(range(256)))
MESSAGES: list[StreamMessage] = [
    *(
        make_frames_extracted(3),
        make_frames_extracted(0, 2),
        make_audio_extracted(),
        make_audio_extracted(4),
        FrameUnreadable(),
        SNAPSHOT,
    ),
    *(InputExhausted(consumed_bytes=2**40), ClipOpened(media=MEDIA_INFO), ClipClosed(frames=7)),
]


def encode_parts(message: StreamMessage) -> list[bytes]:
    content = b"".join(stream_messages.encode(message))
    lengths = messages.read_prefix(content[: messages.PREFIX.size], max_frames=8)
    parts: list[bytes] = []
    place = messages.PREFIX.size
    for size in (lengths.header, lengths.crops, lengths.waveform, lengths.patch_starts):
        parts.append(content[place : place + size])
        place += size
    assert place == len(content)
    return parts


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_message_arrives_as_it_was_sent(message: StreamMessage) -> None:
    received: Any = stream_messages.decode(*encode_parts(message))
    assert type(received) is type(message)
    for name in type(message).__slots__:
        np.testing.assert_equal(getattr(received, name), getattr(message, name))


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        (make_frames_extracted(), {"arrived": []}),
        (make_frames_extracted(), {"arrived": ["now"]}),
        (make_frames_extracted(), {"arrived": [float("nan")]}),
        (make_frames_extracted(), {"times": [], "faces": [], "arrived": []}),
        (make_frames_extracted(), {"faces": [[]]}),
        (make_frames_extracted(), {"stages": {"decode": 0.1}}),
        (make_frames_extracted(), {"stages": {"decode": -1.0, "face": 0.0}}),
        (make_audio_extracted(), {"stages": {}}),
        (InputExhausted(consumed_bytes=1), {"taken": -1}),
        (InputExhausted(consumed_bytes=1), {"taken": True}),
        (SNAPSHOT, {"state": "no base64"}),
        (SNAPSHOT, {"state": "A" * (4 * MAX_SNAPSHOT_BYTES // 3 + 4)}),
        (SNAPSHOT, {"frames": 1.5}),
        (SNAPSHOT, {"samples": None}),
        (FrameUnreadable(), {"kind": "chunk"}),
        (FrameUnreadable(), {"kind": ["seen"]}),
    ],
)
def test_malformed_header_values_are_refused(
    message: StreamMessage, changes: dict[str, Any]
) -> None:
    header, *arrays = encode_parts(message)
    changed = json.dumps(json.loads(header) | changes).encode()
    with pytest.raises(DecoderCrashed):
        stream_messages.decode(changed, *arrays)


def test_malformed_audio_is_refused() -> None:
    header, crops, waveform, starts = encode_parts(make_audio_extracted())
    loud = np.full(98 * 160, 1.5, np.float32).tobytes()
    for parts in (
        (loud, starts),
        (waveform, b""),
        (b"", starts),
        (waveform, np.array([2], np.int64).tobytes()),
        (waveform, np.array([-1], np.int64).tobytes()),
    ):
        with pytest.raises(DecoderCrashed):
            stream_messages.decode(header, crops, *parts)


def make_account(*, is_container: bool, sent: list[StreamInput]) -> StreamAccount:
    made = StreamAccount(8, expects_opened=is_container)
    for piece in sent:
        made.record_sent(piece)
    return made


FRAME = StreamFrame(time_seconds=0.0, data=b"x", arrived_at=5.0)
CONTAINER_BYTES = StreamBytes(data=b"abc", arrived_at=5.0)
OPENED = ClipOpened(media=MEDIA_INFO)


@pytest.mark.parametrize(
    ("is_container", "messages"),
    [
        (False, [OPENED]),
        (False, [make_frames_extracted(1)]),
        (False, [make_frames_extracted(0, 3)]),
        (False, [make_frames_extracted(), make_frames_extracted(1), make_frames_extracted(2)]),
        (False, [make_frames_extracted(arrived_at=4.9)]),
        (False, [make_frames_extracted(arrived_at=5.1)]),
        (False, [make_audio_extracted()]),
        (False, [make_frames_extracted(), make_audio_extracted(2)]),
        (False, [FrameUnreadable(), FrameUnreadable(), FrameUnreadable()]),
        (False, [InputExhausted(consumed_bytes=0)]),
        (False, [Snapshot(frames=0, samples=0, state=b"")]),
        (False, [make_frames_extracted(), Snapshot(frames=2, samples=0, state=b"")]),
        (False, [make_frames_extracted(), ClipClosed(frames=1)]),
        (False, [make_frames_extracted(), make_audio_extracted(), ClipClosed(frames=2)]),
        (True, [make_frames_extracted()]),
        (True, [OPENED, OPENED]),
        (True, [OPENED, FrameUnreadable()]),
        (True, [OPENED, make_frames_extracted(), Snapshot(frames=1, samples=0, state=b"")]),
        (True, [InputExhausted(consumed_bytes=7)]),
        (True, [InputExhausted(consumed_bytes=3), InputExhausted(consumed_bytes=2)]),
        (True, [ClipClosed(frames=0)]),
    ],
)
def test_messages_that_contradict_the_input_are_rejected(
    is_container: bool, messages: list[StreamMessage]
) -> None:
    *true, false = messages
    account = make_account(
        is_container=is_container,
        sent=[CONTAINER_BYTES, CONTAINER_BYTES] if is_container else [FRAME, FRAME],
    )
    assert all(account.accept(message) for message in true)
    assert not account.accept(false)


def test_account_is_settled_once_all_input_is_answered() -> None:
    frames = make_account(is_container=False, sent=[FRAME, FRAME])
    assert not frames.is_settled
    assert frames.accept(make_frames_extracted())
    assert not frames.is_settled
    assert frames.accept(FrameUnreadable())
    assert frames.is_settled
    file = make_account(is_container=True, sent=[CONTAINER_BYTES])
    assert file.accept(InputExhausted(consumed_bytes=2))
    assert not file.is_settled
    assert file.accept(InputExhausted(consumed_bytes=3))
    assert file.is_settled
    file.record_end()
    assert not file.is_settled


def test_sealed_snapshot_restores_the_account() -> None:
    first = make_account(is_container=False, sent=[FRAME, FRAME])
    assert first.accept(make_frames_extracted(0, 2))
    assert first.accept(make_audio_extracted())
    sealed = first.seal(Snapshot(frames=2, samples=0, state=b"all"))
    second = make_account(is_container=False, sent=[])
    assert second.unseal(sealed.state) == b"all"
    second.record_sent(FRAME)
    assert second.accept(make_audio_extracted())
    assert second.accept(make_frames_extracted(2))
    assert not second.accept(make_audio_extracted(2))


@pytest.mark.parametrize("state", [b"", b"\x01", bytes(50), bytes(MAX_SNAPSHOT_BYTES + 1)])
def test_invalid_snapshot_state_is_refused(state: bytes) -> None:
    with pytest.raises(StreamExpired):
        make_account(is_container=False, sent=[]).unseal(state)


def test_media_input_round_trips() -> None:
    pieces: list[StreamInput] = [
        StreamBytes(data=b"abc", arrived_at=1.25),
        StreamFrame(time_seconds=-0.1, data=b"", arrived_at=7.5),
        StreamAudio(data=b"12", time_seconds=None),
        StreamAudio(data=b"1234", time_seconds=1 / 3),
    ]
    parts = [*encode_state(b"state"), *(part for each in pieces for part in encode_piece(each))]
    pipe = BytesIO(b"".join([*parts, END, b"more"]))
    assert read_snapshot(pipe) == b"state"
    assert list(read_pieces(pipe)) == pieces
    cut = BytesIO(b"".join(encode_piece(pieces[0]))[:-1])
    with pytest.raises(EOFError):
        list(read_pieces(cut))
