"""Where a session begins: at nothing, or where another broke off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from circumplex.v1 import annotation_pb2 as wire

from service.errors import StreamExpired
from service.streaming.input.media_reader import FrameTimeRange, MediaPosition
from service.streaming.resume.checkpoint import FinalCheckpoint, StreamCheckpoint, decode_checkpoint
from service.streaming.resume.checkpoint_store import StoredStream, StreamClaim
from service.streaming.resume.resume_token import ResumeToken


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumePoint:
    """A stream, and how far it has come.

    told_index: the last final result that the client has. untold: what it was told after that,
    or would have been. received: what it had sent. entries: see Kept.
    """

    claim: StreamClaim
    checkpoint: StreamCheckpoint | None = None
    last_delivered_index: int = -1
    undelivered: Sequence[wire.StreamingAnnotateResponse] = ()
    received: MediaPosition = field(default_factory=MediaPosition)
    response_count: int = 0

    @property
    def last_final_index(self) -> int:
        """Of the last final result that need not be told again after `untold`."""
        last = -1 if self.checkpoint is None else self.checkpoint.last_final_index
        return max(last, self.last_delivered_index)

    @property
    def send_from(self) -> MediaPosition:
        """Where the client goes on: a container is always decoded from its first byte."""
        if self.checkpoint is None or self.checkpoint.snapshot is None:
            return MediaPosition()
        return self.checkpoint.position

    @property
    def time_range(self) -> FrameTimeRange:
        """The times of the frames before `send_from`."""
        return FrameTimeRange() if self.checkpoint is None else self.checkpoint.time_range

    @property
    def finalized_frames(self) -> int:
        """Frames of which all is known, as the child numbers them; of a container's it tells."""
        return 0 if self.checkpoint is None else self.checkpoint.finalized_frames

    @property
    def duplicate_audio_frames(self) -> int:
        """So many frames' sound the child tells first that is known."""
        return self.finalized_frames - self.frames_with_audio

    @property
    def frames_with_audio(self) -> int:
        """So many frames' sound the child does not tell any more."""
        if self.checkpoint is None or self.checkpoint.snapshot is None:
            return 0
        return self.checkpoint.finalized_frames - self.checkpoint.frames_without_audio

    @property
    def next_final_index(self) -> int:
        """The index of the next final result, if its frame is not dropped."""
        if (untold := next(_final_indices(self.undelivered), None)) is not None:
            return untold
        if self.checkpoint is None:
            return 0
        waiting = self.checkpoint.result_assembler.next_index
        at = self.checkpoint.position.frames if waiting is None else waiting
        return max(at, self.last_delivered_index + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedStream:
    """A stream that has ended, and what its client may not have got."""

    claim: StreamClaim
    final_checkpoint: FinalCheckpoint
    undelivered: Sequence[wire.StreamingAnnotateResponse]

    @property
    def send_from(self) -> MediaPosition:
        """Nothing is wanted any more."""
        return self.final_checkpoint.position

    @property
    def next_final_index(self) -> int:
        """The index of the next final result; beyond all there are where there is none."""
        return next(_final_indices(self.undelivered), self.final_checkpoint.last_final_index + 1)


def _final_indices(responses: Sequence[wire.StreamingAnnotateResponse]) -> Iterator[int]:
    return (each.frame_result.index for each in responses if each.frame_result.is_final)


def find_resume_point(
    claim: StreamClaim, stored: StoredStream, token: ResumeToken
) -> ResumePoint | CompletedStream:
    """Where a stream goes on behind the token; raises StreamGone."""
    state = decode_checkpoint(stored.state)
    untold = _undelivered_responses(stored, token, state.last_final_index)
    if isinstance(state, FinalCheckpoint):
        return CompletedStream(claim=claim, final_checkpoint=state, undelivered=untold)
    state.result_assembler.clear_arrival_times()
    return ResumePoint(
        claim=claim,
        checkpoint=state,
        last_delivered_index=token.index,
        undelivered=untold,
        received=stored.received,
        response_count=stored.response_count,
    )


def _undelivered_responses(
    stored: StoredStream, token: ResumeToken, last_final_index: int
) -> list[wire.StreamingAnnotateResponse]:
    """What was told behind the token; of a token of later than what is kept, nothing."""
    told = [wire.StreamingAnnotateResponse.FromString(each) for each in stored.recent_responses]
    finals = [each.frame_result.index if each.frame_result.is_final else None for each in told]
    if token.index not in finals:
        if token.index > last_final_index:
            return []
        raise StreamExpired("The results behind this token are not kept any more")
    untold = told[finals.index(token.index) + 1 :]
    for each in untold:
        if each.frame_result.is_final:
            index = each.frame_result.index
            each.frame_result.resume_token = str(replace(token, index=index))
    return untold
