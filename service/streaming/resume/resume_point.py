"""Resume tokens, and the point at which a session begins: a new stream or a resumed one."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from service.domain.options import FaceSelection
from service.errors import ResumeTokenInvalid, StreamExpired
from service.streaming.events import MediaPosition, StoredEvent, StreamResult
from service.streaming.input import FrameTimeRange
from service.streaming.resume.checkpoint import (
    FinalCheckpoint,
    StreamCheckpoint,
    decode_checkpoint,
    decode_event,
)
from service.streaming.resume.checkpoint_store import StoredStream, StreamClaim
from service.streaming.stages.final import FinalStage

_TOKEN_PATTERN: Final = re.compile(r"(?a:([\w-]{22})\.(\d{1,18}))")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeToken:
    """Token that resumes a stream after a final result.

    stream_id: 128 random bits. index: of that result's frame, as it was sent.
    """

    stream_id: str
    index: int

    def __str__(self) -> str:
        """Return the token as text."""
        return f"{self.stream_id}.{self.index}"


def parse_resume_token(text: str) -> ResumeToken:
    """Parse a token; raises ResumeTokenInvalid."""
    found = _TOKEN_PATTERN.fullmatch(text)
    if found is None:
        raise ResumeTokenInvalid()
    return ResumeToken(stream_id=found[1], index=int(found[2]))


def new_stream_id() -> str:
    """Return an unguessable id."""
    return secrets.token_urlsafe(16)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumePoint:
    """A stream and its progress; of a new stream only the claim.

    last_delivered_index: of the last final result that the client has. undelivered: the events
    stored after it. received: media received before. response_count: see StoredStream.
    """

    claim: StreamClaim
    checkpoint: StreamCheckpoint | None = None
    last_delivered_index: int = -1
    undelivered: Sequence[StoredEvent] = ()
    received: MediaPosition = field(default_factory=MediaPosition)
    response_count: int = 0

    @property
    def last_final_index(self) -> int:
        """Index of the last final result that is delivered or among the undelivered ones."""
        last = -1 if self.checkpoint is None else self.checkpoint.last_final_index
        return max(last, self.last_delivered_index)

    @property
    def send_from(self) -> MediaPosition:
        """Position from which the client sends; a container is decoded from its first byte."""
        if self.checkpoint is None or self.checkpoint.snapshot is None:
            return MediaPosition()
        return self.checkpoint.position

    @property
    def time_range(self) -> FrameTimeRange:
        """Times of the frames before `send_from`."""
        return FrameTimeRange() if self.checkpoint is None else self.checkpoint.time_range

    @property
    def finalized_frames(self) -> int:
        """Frames processed before; the decode process of a container returns them again."""
        return 0 if self.checkpoint is None else self.checkpoint.finalized_frames

    @property
    def duplicate_audio_frames(self) -> int:
        """Frames processed before whose audio the decode process returns again."""
        return self.finalized_frames - self.frames_with_audio

    @property
    def frames_with_audio(self) -> int:
        """Frames whose audio the decode process does not return again."""
        if self.checkpoint is None or self.checkpoint.snapshot is None:
            return 0
        return self.checkpoint.finalized_frames - self.checkpoint.frames_without_audio

    @property
    def next_final_index(self) -> int:
        """Index of the next final result, provided its frame is not dropped."""
        if (undelivered := next(_final_indices(self.undelivered), None)) is not None:
            return undelivered
        if self.checkpoint is None:
            return 0
        pending = self.checkpoint.pending_results.indices
        at = int(pending[0]) if len(pending) else self.checkpoint.position.frames
        return max(at, self.last_delivered_index + 1)

    def restore(self, stage: FinalStage, faces: FaceSelection) -> None:
        """Set a new final stage to this point."""
        stage.last_delivered_index = stage.last_final_index = self.last_final_index
        if self.checkpoint is not None:
            self.checkpoint.restore(stage, faces)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedStream:
    """A stream that has ended, with the events that its client may not have received."""

    claim: StreamClaim
    final_checkpoint: FinalCheckpoint
    undelivered: Sequence[StoredEvent]

    @property
    def send_from(self) -> MediaPosition:
        """Position after all media: nothing needs to be sent."""
        return self.final_checkpoint.position

    @property
    def next_final_index(self) -> int:
        """Index of the next final result; one beyond the last if there is none."""
        return next(_final_indices(self.undelivered), self.final_checkpoint.last_final_index + 1)


def find_resume_point(
    claim: StreamClaim, stored: StoredStream, token: ResumeToken
) -> ResumePoint | CompletedStream:
    """Return the point after the token's result. Raises: StreamExpired."""
    checkpoint = decode_checkpoint(stored.state)
    undelivered = _undelivered_events(stored, token, checkpoint.last_final_index)
    if isinstance(checkpoint, FinalCheckpoint):
        return CompletedStream(claim=claim, final_checkpoint=checkpoint, undelivered=undelivered)
    return ResumePoint(
        claim=claim,
        checkpoint=checkpoint,
        last_delivered_index=token.index,
        undelivered=undelivered,
        received=stored.received,
        response_count=stored.response_count,
    )


def _final_indices(events: Sequence[StoredEvent]) -> Iterator[int]:
    return (each.index for each in events if isinstance(each, StreamResult) and each.is_final)


def _undelivered_events(
    stored: StoredStream, token: ResumeToken, last_final_index: int
) -> list[StoredEvent]:
    """Return the stored events after the token's result; none if it is newer than all of them."""
    events = [decode_event(each) for each in stored.recent_responses]
    places = [
        place
        for place, each in enumerate(events)
        if isinstance(each, StreamResult) and each.is_final and each.index == token.index
    ]
    if not places:
        if token.index > last_final_index:
            return []
        raise StreamExpired("The results after this token are no longer stored")
    return [_with_token(each, token) for each in events[places[0] + 1 :]]


def _with_token(event: StoredEvent, token: ResumeToken) -> StoredEvent:
    if isinstance(event, StreamResult) and event.is_final:
        return replace(event, resume_token=str(replace(token, index=event.index)))
    return event
