"""What was sent to the child of a stream, and what it may say of that: only what can be true.

A snapshot's state goes out sealed: version u32 │ frames seen u64 │ frames heard u64 │ the child's
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Final

from service.decoding.protocol.stream_messages import InputExhausted, StreamMessage
from service.domain.clip import ClipClosed, ClipOpened
from service.domain.stream import (
    MAX_SNAPSHOT_BYTES,
    AudioExtracted,
    FramesExtracted,
    FrameUnreadable,
    Snapshot,
    StreamBytes,
    StreamFrame,
    StreamInput,
)
from service.errors import StreamExpired

_HEADER: Final = struct.Struct("<IQQ")
_VERSION: Final = 1
"""Of what a child's state holds; states of another are of no use."""


class StreamAccount:
    """What was sent and what was answered. max_frames: of one message."""

    def __init__(self, max_frames: int, *, expects_opened: bool) -> None:
        """Args: opens: whether the child says first what the media are."""
        self.max_frames = max_frames
        self._expects_opened = expects_opened
        self._is_open = not expects_opened
        self._sent_bytes = self._taken_bytes = 0
        self._sent_frames = self._answered_frames = 0
        self._video_frames = self._audio_frames = 0
        self._first_arrival: float | None = None
        self._last_arrival = 0.0
        self._has_ended = False

    @property
    def is_settled(self) -> bool:
        """Whether everything was answered; once the media have ended only the last word is."""
        frames = self._sent_frames == self._answered_frames
        return frames and self._sent_bytes == self._taken_bytes and not self._has_ended

    def record_sent(self, piece: StreamInput) -> None:
        """A piece goes out."""
        match piece:
            case StreamBytes():
                self._sent_bytes += len(piece.data)
            case StreamFrame():
                self._sent_frames += 1
            case _:
                return
        if self._first_arrival is None:
            self._first_arrival = piece.arrived_at
        self._last_arrival = max(self._last_arrival, piece.arrived_at)

    def record_end(self) -> None:
        """No more pieces go out."""
        self._has_ended = True

    def accept(self, message: StreamMessage) -> bool:
        """Take a message to the account; whether it can be true."""
        match message:
            case ClipOpened():
                in_order, self._is_open = self._expects_opened and not self._is_open, True
            case FramesExtracted():
                in_order = self._is_open and message.frames[0].index == self._video_frames
                in_order &= all(self._is_arrival_time(each) for each in message.arrived_at)
                self._video_frames += len(message.frames)
                in_order &= self._record_answered(len(message.frames))
            case FrameUnreadable():
                in_order = not self._expects_opened and self._record_answered(1)
            case AudioExtracted():
                self._audio_frames += len(message.patch_starts)
                in_order = self._audio_frames <= self._video_frames
            case InputExhausted(consumed_bytes=taken_bytes):
                in_order = (
                    self._expects_opened and self._taken_bytes <= taken_bytes <= self._sent_bytes
                )
                self._taken_bytes = taken_bytes
            case Snapshot():
                in_order = not self._expects_opened and message.frames == self._video_frames > 0
            case ClipClosed():
                in_order = (
                    self._is_open and self._audio_frames == self._video_frames == message.frames
                )
        return in_order

    def seal(self, snapshot: Snapshot) -> Snapshot:
        """The same with a state that knows what was answered by now."""
        head = _HEADER.pack(_VERSION, self._video_frames, self._audio_frames)
        return replace(snapshot, state=head + snapshot.state)

    def unseal(self, state: bytes) -> bytes:
        """Go on from a sealed state; what the child is to be told of it.

        Raises: StreamGone: it is not one, or of another version.
        """
        if len(state) < _HEADER.size or len(state) > MAX_SNAPSHOT_BYTES:
            raise StreamExpired("The state of the stream is not one that can be gone on from")
        version, self._video_frames, self._audio_frames = _HEADER.unpack_from(state)
        if version != _VERSION:
            raise StreamExpired("The stream was begun by another version of the service")
        return state[_HEADER.size :]

    def _record_answered(self, frames: int) -> bool:
        if not self._expects_opened:
            self._answered_frames += frames
        return self._answered_frames <= self._sent_frames

    def _is_arrival_time(self, seconds: float) -> bool:
        first = self._first_arrival
        return first is not None and first <= seconds <= self._last_arrival
