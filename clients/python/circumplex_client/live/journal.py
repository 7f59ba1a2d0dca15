"""What the caller has been given of a stream, over however many calls it came."""

from __future__ import annotations

from dataclasses import replace

from circumplex_client.live.results import Dropped, FrameResult
from circumplex_client.v1 import annotation_pb2 as pb


class Journal:
    """Lets each result through once. token: of the last final result, empty before the first."""

    def __init__(self) -> None:
        self.token = ""
        self._next_final = 0
        self._next_provisional = 0
        self._settled = 0
        self._dropped: set[int] = set()

    def begin_call(self) -> None:
        """From here on, what is told of frames before the next final one is a repetition."""
        self._settled = self._next_final
        self._dropped = {index for index in self._dropped if index >= self._settled}

    def frame(self, message: pb.FrameResult) -> FrameResult | None:
        """The result, unless the caller has it or has the frame's final one."""
        if message.index < self._next_final:
            return None
        if message.is_final:
            self.token = message.resume_token or self.token  # none while it cannot be kept
            self._next_final = message.index + 1
        elif message.index < self._next_provisional:
            return None
        else:
            self._next_provisional = message.index + 1
        return FrameResult.read(message)

    def dropped(self, message: pb.FramesDropped) -> Dropped | None:
        """What of it the caller has not been told yet."""
        told = range(message.first_index, message.first_index + message.count)
        new = [index for index in told if index >= self._settled and index not in self._dropped]
        if not new:
            return None
        self._dropped.update(new)
        return replace(Dropped.read(message), first_index=new[0], count=len(new))
