"""Messages of a stream's decode process, and the account of what they may contain."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest

from service.decoding.protocol.messages import (
    MAX_STATE_BYTES,
    PREFIX,
    InputExhausted,
    WorkerMessage,
)
from service.decoding.requests import (
    EndOfInput,
    InputMessage,
    ResumeState,
    encode_input,
    read_input,
)
from service.decoding.stream_account import SealedState, StreamAccount
from service.domain.clip import Chunk, ClipClosed, ClipOpened, FaceBox, Frame, TrackedFace
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
from service.serialization import encode
from tests.unit.decoding.forged_messages import (
    read_bytes,
    read_fields,
    round_trip,
    to_fields,
)

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
MESSAGES: list[WorkerMessage] = [
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


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_message_arrives_as_it_was_sent(message: WorkerMessage) -> None:
    received: Any = round_trip(message)
    assert type(received) is type(message)
    for name in type(message).__slots__:
        np.testing.assert_equal(getattr(received, name), getattr(message, name))


NO_CROPS = np.zeros((0, 3, 112, 112), np.uint8)
NO_FACES: list[object] = []
FACELESS: list[dict[str, object]] = [{"index": 0, "time_seconds": 0.0, "faces": NO_FACES}]


MALFORMED: list[tuple[WorkerMessage, dict[str, object]]] = [
    (make_frames_extracted(), {"arrived_at": []}),
    (make_frames_extracted(), {"arrived_at": ["now"]}),
    (make_frames_extracted(), {"arrived_at": [float("nan")]}),
    (make_frames_extracted(), {"frames": [], "crops": NO_CROPS, "arrived_at": []}),
    (make_frames_extracted(), {"frames": FACELESS}),
    (make_frames_extracted(), {"stage_seconds": {"decode": 0.1}}),
    (make_frames_extracted(), {"stage_seconds": {"decode": -1.0, "face": 0.0}}),
    (make_audio_extracted(), {"stage_seconds": {}}),
    (InputExhausted(consumed_bytes=1), {"consumed_bytes": -1}),
    (InputExhausted(consumed_bytes=1), {"consumed_bytes": True}),
    (SNAPSHOT, {"state": ["no bytes"]}),
    (SNAPSHOT, {"state": bytes(MAX_STATE_BYTES + 1)}),
    (SNAPSHOT, {"frames": 1.5}),
    (SNAPSHOT, {"samples": None}),
]


@pytest.mark.parametrize(("message", "changes"), MALFORMED)
def test_malformed_fields_are_refused(message: WorkerMessage, changes: dict[str, Any]) -> None:
    with pytest.raises(DecoderCrashed):
        read_fields(type(message), to_fields(message) | changes)


def test_content_of_another_kind_is_refused() -> None:
    with pytest.raises(DecoderCrashed):
        read_fields(Chunk, to_fields(FrameUnreadable()))
    with pytest.raises(DecoderCrashed):
        read_bytes(PREFIX.pack(255, 0))


def test_malformed_audio_is_refused() -> None:
    fields = to_fields(make_audio_extracted())
    for changes in (
        {"waveform": np.full(98 * 160, 1.5, np.float32)},
        {"patch_starts": np.zeros(0, np.int64)},
        {"waveform": np.zeros(0, np.float32)},
        {"patch_starts": np.array([2], np.int64)},
        {"patch_starts": np.array([-1], np.int64)},
    ):
        with pytest.raises(DecoderCrashed):
            read_fields(AudioExtracted, fields | changes)


def make_account(*, is_container: bool, sent: list[StreamInput]) -> StreamAccount:
    account = StreamAccount(8, expects_opened=is_container)
    for piece in sent:
        account.record_sent(piece)
    return account


FRAME = StreamFrame(time_seconds=0.0, data=b"x", arrived_at=5.0)
CONTAINER_BYTES = StreamBytes(data=b"abc", arrived_at=5.0)
OPENED = ClipOpened(media=MEDIA_INFO)
CHUNK = Chunk(
    frames=make_frames_extracted().frames,
    crops=make_frames_extracted().crops,
    waveform=make_audio_extracted().waveform,
    patch_starts=make_audio_extracted().patch_starts,
)


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
        (False, [CHUNK]),
        (True, [OPENED, CHUNK]),
    ],
)
def test_messages_that_contradict_the_input_are_rejected(
    is_container: bool, messages: list[WorkerMessage]
) -> None:
    *accepted, rejected = messages
    account = make_account(
        is_container=is_container,
        sent=[CONTAINER_BYTES, CONTAINER_BYTES] if is_container else [FRAME, FRAME],
    )
    assert all(account.accept(message) for message in accepted)
    assert not account.accept(rejected)


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


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"\x01",
        bytes(50),
        bytes(MAX_SNAPSHOT_BYTES + 1),
        encode(SealedState(version=1, video_frames=1, audio_frames=1, state=b"")),
    ],
)
def test_invalid_snapshot_state_is_refused(state: bytes) -> None:
    with pytest.raises(StreamExpired):
        make_account(is_container=False, sent=[]).unseal(state)


def test_largest_state_fits_a_sealed_snapshot() -> None:
    account = make_account(is_container=False, sent=[])
    sealed = account.seal(Snapshot(frames=1, samples=0, state=bytes(MAX_STATE_BYTES)))
    assert len(sealed.state) <= MAX_SNAPSHOT_BYTES
    assert account.unseal(sealed.state) == bytes(MAX_STATE_BYTES)


def test_media_input_round_trips() -> None:
    pieces: list[InputMessage] = [
        ResumeState(state=b"state"),
        StreamBytes(data=b"abc", arrived_at=1.25),
        StreamFrame(time_seconds=-0.1, data=b"", arrived_at=7.5),
        StreamAudio(data=b"12", time_seconds=None),
        StreamAudio(data=b"1234", time_seconds=1 / 3),
    ]
    parts = [part for each in (*pieces, EndOfInput()) for part in encode_input(each)]
    assert list(read_input(BytesIO(b"".join([*parts, b"more"])))) == pieces
    cut = BytesIO(b"".join(encode_input(pieces[0]))[:-1])
    with pytest.raises(EOFError):
        list(read_input(cut))
