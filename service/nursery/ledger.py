"""What was sent to the child of a stream, and what it may say of that: only what can be true.

A snapshot's state goes out sealed: version u32 │ frames seen u64 │ frames heard u64 │ the child's
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Final

from service.domain.clip import ClipClosed, ClipOpened
from service.domain.live import (
    MAX_STATE_BYTES,
    ContainerBytes,
    Heard,
    LiveFrame,
    LivePiece,
    Seen,
    Snapshot,
    Unreadable,
)
from service.errors import StreamGone
from service.nursery.live_wire import Dry, LiveMessage

_SEAL: Final = struct.Struct("<IQQ")
_VERSION: Final = 1
"""Of what a child's state holds; states of another are of no use."""


class Ledger:
    """What was sent and what was answered. max_frames: of one message."""

    def __init__(self, max_frames: int, *, opens: bool) -> None:
        """Args: opens: whether the child says first what the media are."""
        self.max_frames = max_frames
        self._opens = opens
        self._is_open = not opens
        self._sent_bytes = self._taken_bytes = 0
        self._sent_frames = self._answered_frames = 0
        self._seen = self._heard = 0
        self._first_arrival: float | None = None
        self._last_arrival = 0.0
        self._has_ended = False

    @property
    def is_square(self) -> bool:
        """Whether everything was answered; once the media have ended only the last word is."""
        frames = self._sent_frames == self._answered_frames
        return frames and self._sent_bytes == self._taken_bytes and not self._has_ended

    def note_sent(self, piece: LivePiece) -> None:
        """A piece goes out."""
        match piece:
            case ContainerBytes():
                self._sent_bytes += len(piece.data)
            case LiveFrame():
                self._sent_frames += 1
            case _:
                return
        if self._first_arrival is None:
            self._first_arrival = piece.arrived_at
        self._last_arrival = max(self._last_arrival, piece.arrived_at)

    def note_end(self) -> None:
        """No more pieces go out."""
        self._has_ended = True

    def admit(self, message: LiveMessage) -> bool:
        """Take a message to the account; whether it can be true."""
        match message:
            case ClipOpened():
                in_order, self._is_open = self._opens and not self._is_open, True
            case Seen():
                in_order = self._is_open and message.frames[0].index == self._seen
                in_order &= all(self._is_arrival(each) for each in message.arrived_at)
                self._seen += len(message.frames)
                in_order &= self._answer(len(message.frames))
            case Unreadable():
                in_order = not self._opens and self._answer(1)
            case Heard():
                self._heard += len(message.patch_starts)
                in_order = self._heard <= self._seen
            case Dry(taken_bytes=taken_bytes):
                in_order = self._opens and self._taken_bytes <= taken_bytes <= self._sent_bytes
                self._taken_bytes = taken_bytes
            case Snapshot():
                in_order = not self._opens and message.frames == self._seen > 0
            case ClipClosed():
                in_order = self._is_open and self._heard == self._seen == message.frames
        return in_order

    def seal(self, snapshot: Snapshot) -> Snapshot:
        """The same with a state that knows what was answered by now."""
        head = _SEAL.pack(_VERSION, self._seen, self._heard)
        return replace(snapshot, state=head + snapshot.state)

    def unseal(self, state: bytes) -> bytes:
        """Go on from a sealed state; what the child is to be told of it.

        Raises: StreamGone: it is not one, or of another version.
        """
        if len(state) < _SEAL.size or len(state) > MAX_STATE_BYTES:
            raise StreamGone("The state of the stream is not one that can be gone on from")
        version, self._seen, self._heard = _SEAL.unpack_from(state)
        if version != _VERSION:
            raise StreamGone("The stream was begun by another version of the service")
        return state[_SEAL.size :]

    def _answer(self, frames: int) -> bool:
        if not self._opens:
            self._answered_frames += frames
        return self._answered_frames <= self._sent_frames

    def _is_arrival(self, moment: float) -> bool:
        first = self._first_arrival
        return first is not None and first <= moment <= self._last_arrival
