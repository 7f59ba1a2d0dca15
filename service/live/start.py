"""Where a session begins: at nothing, or where another broke off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from circumplex.v1 import annotation_pb2 as wire

from service.errors import StreamGone
from service.live.archive import Hold, Kept
from service.live.checkpoint import Checkpoint, Ending, read_state
from service.live.pieces import Clock, Position
from service.live.token import ResumeToken


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A stream, and how far it has come.

    told_index: the last final result that the client has. untold: what it was told after that,
    or would have been. received: what it had sent. entries: see Kept.
    """

    hold: Hold
    checkpoint: Checkpoint | None = None
    told_index: int = -1
    untold: Sequence[wire.StreamingAnnotateResponse] = ()
    received: Position = field(default_factory=Position)
    entries: int = 0

    @property
    def last_index(self) -> int:
        """Of the last final result that need not be told again after `untold`."""
        last = -1 if self.checkpoint is None else self.checkpoint.last_index
        return max(last, self.told_index)

    @property
    def send_from(self) -> Position:
        """Where the client goes on: a container is always decoded from its first byte."""
        if self.checkpoint is None or self.checkpoint.snapshot is None:
            return Position()
        return self.checkpoint.position

    @property
    def clock(self) -> Clock:
        """The times of the frames before `send_from`."""
        return Clock() if self.checkpoint is None else self.checkpoint.clock

    @property
    def known_frames(self) -> int:
        """Frames of which all is known, as the child numbers them; of a container's it tells."""
        return 0 if self.checkpoint is None else self.checkpoint.frames

    @property
    def unwanted_frames(self) -> int:
        """So many frames' sound the child tells first that is known."""
        return self.known_frames - self.heard_frames

    @property
    def heard_frames(self) -> int:
        """So many frames' sound the child does not tell any more."""
        if self.checkpoint is None or self.checkpoint.snapshot is None:
            return 0
        return self.checkpoint.frames - self.checkpoint.unheard

    @property
    def next_index(self) -> int:
        """The index of the next final result, if its frame is not dropped."""
        if (untold := next(_finals_of(self.untold), None)) is not None:
            return untold
        if self.checkpoint is None:
            return 0
        waiting = self.checkpoint.finals.next_index
        at = self.checkpoint.position.frames if waiting is None else waiting
        return max(at, self.told_index + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """A stream that has ended, and what its client may not have got."""

    hold: Hold
    ending: Ending
    untold: Sequence[wire.StreamingAnnotateResponse]

    @property
    def send_from(self) -> Position:
        """Nothing is wanted any more."""
        return self.ending.position

    @property
    def next_index(self) -> int:
        """The index of the next final result; beyond all there are where there is none."""
        return next(_finals_of(self.untold), self.ending.last_index + 1)


def _finals_of(told: Sequence[wire.StreamingAnnotateResponse]) -> Iterator[int]:
    return (each.frame_result.index for each in told if each.frame_result.is_final)


def find_start(hold: Hold, kept: Kept, token: ResumeToken) -> Start | Finish:
    """Where a stream goes on behind the token; raises StreamGone."""
    state = read_state(kept.state)
    untold = _untold(kept, token, state.last_index)
    if isinstance(state, Ending):
        return Finish(hold=hold, ending=state, untold=untold)
    state.finals.forget_arrivals()
    return Start(
        hold=hold,
        checkpoint=state,
        told_index=token.index,
        untold=untold,
        received=kept.received,
        entries=kept.entries,
    )


def _untold(
    kept: Kept, token: ResumeToken, last_index: int
) -> list[wire.StreamingAnnotateResponse]:
    """What was told behind the token; of a token of later than what is kept, nothing."""
    told = [wire.StreamingAnnotateResponse.FromString(each) for each in kept.told]
    finals = [each.frame_result.index if each.frame_result.is_final else None for each in told]
    if token.index not in finals:
        if token.index > last_index:
            return []
        raise StreamGone("The results behind this token are not kept any more")
    untold = told[finals.index(token.index) + 1 :]
    for each in untold:
        if each.frame_result.is_final:
            index = each.frame_result.index
            each.frame_result.resume_token = str(replace(token, index=index))
    return untold
