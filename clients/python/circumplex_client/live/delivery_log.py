"""What the caller has been given of a stream, over however many calls it came."""

from __future__ import annotations

from dataclasses import replace

from circumplex_client.live.results import FrameResult, FramesDropped
from circumplex_client.v1 import annotation_pb2 as pb


class DeliveryLog:
    """Lets each result through once. token: of the last final result, empty before the first."""

    def __init__(self) -> None:
        self.resume_token = ""
        self._next_final = 0
        self._next_provisional = 0
        self._final_before_call = 0
        self._dropped_indices: set[int] = set()

    def start_call(self) -> None:
        """From here on, what is told of frames before the next final one is a repetition."""
        self._final_before_call = self._next_final
        self._dropped_indices = {
            index for index in self._dropped_indices if index >= self._final_before_call
        }

    def accept_frame(self, message: pb.FrameResult) -> FrameResult | None:
        """The result, unless the caller has it or has the frame's final one."""
        if message.index < self._next_final:
            return None
        if message.is_final:
            self.resume_token = (
                message.resume_token or self.resume_token
            )  # none while it cannot be kept
            self._next_final = message.index + 1
        elif message.index < self._next_provisional:
            return None
        else:
            self._next_provisional = message.index + 1
        return FrameResult.from_proto(message)

    def accept_dropped(self, message: pb.FramesDropped) -> FramesDropped | None:
        """What of it the caller has not been told yet."""
        announced = range(message.first_index, message.first_index + message.count)
        new = [
            index
            for index in announced
            if index >= self._final_before_call and index not in self._dropped_indices
        ]
        if not new:
            return None
        self._dropped_indices.update(new)
        return replace(FramesDropped.from_proto(message), first_index=new[0], count=len(new))
