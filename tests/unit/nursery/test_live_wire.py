"""What children of streams say: it arrives as it was sent, and what cannot be true is refused."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import numpy as np
import pytest

from service.domain.clip import ClipClosed, ClipOpened, FaceBox, Frame, TrackedFace
from service.domain.live import (
    MAX_STATE_BYTES,
    ContainerBytes,
    Heard,
    LiveFrame,
    LivePiece,
    LiveSound,
    Seen,
    Snapshot,
    Unreadable,
)
from service.domain.media import MediaFacts
from service.errors import DecoderCrashed, StreamGone
from service.nursery import live_wire, wire
from service.nursery.ledger import Ledger
from service.nursery.live_wire import Dry, LiveMessage
from service.nursery.pieces import END, encode_piece, encode_state, read_pieces, read_state

BOX = FaceBox(left=1.5, top=2.0, width=30.0, height=40.0, score=0.9)
FACTS = MediaFacts(
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


def seen(index: int = 0, count: int = 1, arrived_at: float = 5.0) -> Seen:
    frames = tuple(
        Frame(index=index + k, time_seconds=k / 3, faces=(TrackedFace(track=1, box=BOX),))
        for k in range(count)
    )
    crops = np.random.default_rng(0).integers(0, 256, (count, 3, 112, 112), dtype=np.uint8)
    return Seen(
        frames=frames,
        crops=crops,
        arrived_at=(arrived_at,) * count,
        stage_seconds={"decode": 0.25, "face": 0.5},
    )


def heard(count: int = 1) -> Heard:
    waveform = np.random.default_rng(1).uniform(-1, 1, 98 * 160).astype(np.float32)
    return Heard(
        waveform=waveform,
        patch_starts=np.zeros(count, dtype=np.int64),
        stage_seconds={"sound": 0.125},
    )


SNAPSHOT = Snapshot(frames=1, samples=44_100, state=bytes(range(256)))
MESSAGES: list[LiveMessage] = [
    *(seen(3), seen(0, 2), heard(), heard(4), Unreadable(), SNAPSHOT),
    *(Dry(taken_bytes=2**40), ClipOpened(media=FACTS), ClipClosed(frames=7)),
]


def parts_of(message: LiveMessage) -> list[bytes]:
    content = b"".join(live_wire.encode(message))
    lengths = wire.read_prefix(content[: wire.PREFIX.size], max_frames=8)
    parts: list[bytes] = []
    place = wire.PREFIX.size
    for size in (lengths.header, lengths.crops, lengths.waveform, lengths.patch_starts):
        parts.append(content[place : place + size])
        place += size
    assert place == len(content)
    return parts


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_message_arrives_as_it_was_sent(message: LiveMessage) -> None:
    received: Any = live_wire.decode(*parts_of(message))
    assert type(received) is type(message)
    for name in type(message).__slots__:
        np.testing.assert_equal(getattr(received, name), getattr(message, name))


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        (seen(), {"arrived": []}),
        (seen(), {"arrived": ["now"]}),
        (seen(), {"arrived": [float("nan")]}),
        (seen(), {"times": [], "faces": [], "arrived": []}),
        (seen(), {"faces": [[]]}),
        (seen(), {"stages": {"decode": 0.1}}),
        (seen(), {"stages": {"decode": -1.0, "face": 0.0}}),
        (heard(), {"stages": {}}),
        (Dry(taken_bytes=1), {"taken": -1}),
        (Dry(taken_bytes=1), {"taken": True}),
        (SNAPSHOT, {"state": "no base64"}),
        (SNAPSHOT, {"state": "A" * (4 * MAX_STATE_BYTES // 3 + 4)}),
        (SNAPSHOT, {"frames": 1.5}),
        (SNAPSHOT, {"samples": None}),
        (Unreadable(), {"kind": "chunk"}),
        (Unreadable(), {"kind": ["seen"]}),
    ],
)
def test_values_that_make_no_sense_are_refused(
    message: LiveMessage, changes: dict[str, Any]
) -> None:
    header, *arrays = parts_of(message)
    changed = json.dumps(json.loads(header) | changes).encode()
    with pytest.raises(DecoderCrashed):
        live_wire.decode(changed, *arrays)


def test_sound_that_makes_no_sense_is_refused() -> None:
    header, crops, waveform, starts = parts_of(heard())
    loud = np.full(98 * 160, 1.5, np.float32).tobytes()
    for parts in (
        (loud, starts),
        (waveform, b""),
        (b"", starts),
        (waveform, np.array([2], np.int64).tobytes()),
        (waveform, np.array([-1], np.int64).tobytes()),
    ):
        with pytest.raises(DecoderCrashed):
            live_wire.decode(header, crops, *parts)


def ledger(*, opens: bool, sent: list[LivePiece]) -> Ledger:
    made = Ledger(8, opens=opens)
    for piece in sent:
        made.note_sent(piece)
    return made


FRAME = LiveFrame(time_seconds=0.0, data=b"x", arrived_at=5.0)
BYTES = ContainerBytes(data=b"abc", arrived_at=5.0)
OPENED = ClipOpened(media=FACTS)


@pytest.mark.parametrize(
    ("opens", "said"),
    [
        (False, [OPENED]),
        (False, [seen(1)]),
        (False, [seen(0, 3)]),
        (False, [seen(), seen(1), seen(2)]),
        (False, [seen(arrived_at=4.9)]),
        (False, [seen(arrived_at=5.1)]),
        (False, [heard()]),
        (False, [seen(), heard(2)]),
        (False, [Unreadable(), Unreadable(), Unreadable()]),
        (False, [Dry(taken_bytes=0)]),
        (False, [Snapshot(frames=0, samples=0, state=b"")]),
        (False, [seen(), Snapshot(frames=2, samples=0, state=b"")]),
        (False, [seen(), ClipClosed(frames=1)]),
        (False, [seen(), heard(), ClipClosed(frames=2)]),
        (True, [seen()]),
        (True, [OPENED, OPENED]),
        (True, [OPENED, Unreadable()]),
        (True, [OPENED, seen(), Snapshot(frames=1, samples=0, state=b"")]),
        (True, [Dry(taken_bytes=7)]),
        (True, [Dry(taken_bytes=3), Dry(taken_bytes=2)]),
        (True, [ClipClosed(frames=0)]),
    ],
)
def test_what_cannot_be_true_of_what_was_sent_is_not_believed(
    opens: bool, said: list[LiveMessage]
) -> None:
    *true, false = said
    account = ledger(opens=opens, sent=[BYTES, BYTES] if opens else [FRAME, FRAME])
    assert all(account.admit(message) for message in true)
    assert not account.admit(false)


def test_everything_is_answered_once_it_was_looked_at() -> None:
    frames = ledger(opens=False, sent=[FRAME, FRAME])
    assert not frames.is_square
    assert frames.admit(seen())
    assert not frames.is_square
    assert frames.admit(Unreadable())
    assert frames.is_square
    file = ledger(opens=True, sent=[BYTES])
    assert file.admit(Dry(taken_bytes=2))
    assert not file.is_square
    assert file.admit(Dry(taken_bytes=3))
    assert file.is_square
    file.note_end()
    assert not file.is_square


def test_a_sealed_state_goes_on_where_it_was() -> None:
    first = ledger(opens=False, sent=[FRAME, FRAME])
    assert first.admit(seen(0, 2))
    assert first.admit(heard())
    sealed = first.seal(Snapshot(frames=2, samples=0, state=b"all"))
    second = ledger(opens=False, sent=[])
    assert second.unseal(sealed.state) == b"all"
    second.note_sent(FRAME)
    assert second.admit(heard())
    assert second.admit(seen(2))
    assert not second.admit(heard(2))


@pytest.mark.parametrize("state", [b"", b"\x01", bytes(50), bytes(MAX_STATE_BYTES + 1)])
def test_a_state_that_is_none_is_refused(state: bytes) -> None:
    with pytest.raises(StreamGone):
        ledger(opens=False, sent=[]).unseal(state)


def test_pieces_arrive_as_they_were_sent() -> None:
    pieces: list[LivePiece] = [
        ContainerBytes(data=b"abc", arrived_at=1.25),
        LiveFrame(time_seconds=-0.1, data=b"", arrived_at=7.5),
        LiveSound(data=b"12", time_seconds=None),
        LiveSound(data=b"1234", time_seconds=1 / 3),
    ]
    parts = [*encode_state(b"state"), *(part for each in pieces for part in encode_piece(each))]
    pipe = BytesIO(b"".join([*parts, END, b"more"]))
    assert read_state(pipe) == b"state"
    assert list(read_pieces(pipe)) == pieces
    cut = BytesIO(b"".join(encode_piece(pieces[0]))[:-1])
    with pytest.raises(EOFError):
        list(read_pieces(cut))
