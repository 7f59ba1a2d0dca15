"""Account of a stream: checks that a decode process's messages are consistent with the media sent.

The state of a snapshot is stored outside in an envelope with a version and frame counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from service.decoding.protocol.messages import InputExhausted, WorkerMessage
from service.domain.clip import Chunk, ClipClosed, ClipOpened
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
from service.serialization import MalformedDataError, decode, encode

_STATE_VERSION: Final = 3
"""Version of the decode process's snapshot dataclasses; states of another cannot be used."""
_UNUSABLE: Final = "The saved state of the stream cannot be used"


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedState:
    """State of a decode process, with its version and the numbers of frames extracted so far."""

    version: int
    video_frames: int
    audio_frames: int
    state: bytes


class StreamAccount:
    """Check of a stream's received messages against its sent media. max_frames: of a message."""

    def __init__(self, max_frames: int, *, expects_opened: bool) -> None:
        """Create the account of a new stream.

        Args: expects_opened: whether ClipOpened comes first.
        """
        self.max_frames = max_frames
        self._expects_opened = expects_opened
        self._is_open = not expects_opened
        self._sent_bytes = self._consumed_bytes = 0
        self._sent_frames = self._answered_frames = 0
        self._video_frames = self._audio_frames = 0
        self._first_arrival: float | None = None
        self._last_arrival = 0.0
        self._has_ended = False

    @property
    def is_settled(self) -> bool:
        """True if all media sent have their results; after the end of the media: False."""
        frames = self._sent_frames == self._answered_frames
        return frames and self._sent_bytes == self._consumed_bytes and not self._has_ended

    def record_sent(self, piece: StreamInput) -> None:
        """Record media that are sent."""
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
        """Record that the media have ended."""
        self._has_ended = True

    def accept(self, message: WorkerMessage) -> bool:
        """Record a message; False: it contradicts the media, or earlier messages."""
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
            case InputExhausted(consumed_bytes=consumed):
                in_order = (
                    self._expects_opened and self._consumed_bytes <= consumed <= self._sent_bytes
                )
                self._consumed_bytes = consumed
            case Snapshot():
                in_order = not self._expects_opened and message.frames == self._video_frames > 0
            case ClipClosed():
                in_order = (
                    self._is_open and self._audio_frames == self._video_frames == message.frames
                )
            case Chunk():
                in_order = False
        return in_order

    def seal(self, snapshot: Snapshot) -> Snapshot:
        """Add the version and the counts so far to the state of a snapshot."""
        sealed = SealedState(
            version=_STATE_VERSION,
            video_frames=self._video_frames,
            audio_frames=self._audio_frames,
            state=snapshot.state,
        )
        return replace(snapshot, state=encode(sealed))

    def unseal(self, state: bytes) -> bytes:
        """Resume from a sealed state; returns the state for the decode process.

        Raises: StreamExpired: it is no sealed state, or of another version.
        """
        if len(state) > MAX_SNAPSHOT_BYTES:
            raise StreamExpired(_UNUSABLE)
        try:
            sealed = decode(state, SealedState)
        except MalformedDataError as error:
            raise StreamExpired(_UNUSABLE) from error
        if sealed.version != _STATE_VERSION:
            raise StreamExpired("The stream was begun by another version of the service")
        self._video_frames, self._audio_frames = sealed.video_frames, sealed.audio_frames
        return sealed.state

    def _record_answered(self, frames: int) -> bool:
        if not self._expects_opened:
            self._answered_frames += frames
        return self._answered_frames <= self._sent_frames

    def _is_arrival_time(self, seconds: float) -> bool:
        first = self._first_arrival
        return first is not None and first <= seconds <= self._last_arrival
