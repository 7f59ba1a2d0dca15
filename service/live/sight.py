"""Faces of a stream: through the backbone, and at once to a provisional result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from circumplex.v1 import annotation_pb2 as wire

from service.domain.clip import Frame
from service.domain.timeline import Estimate
from service.estimation import Estimation
from service.live.credits import Credits
from service.live.mailbox import Mailbox
from service.live.outbox import Outbox, Reply
from service.live.provisional import Provisional
from service.live.replies import show_frame, show_track
from service.live.rows import Row

MAX_AT_ONCE: Final = 16
"""Frames of one stream that are told of together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """Two steps that work side by side: embedding frames, and telling of those before."""

    estimation: Estimation
    provisional: Provisional | None
    """None: only final results are wanted."""
    max_crops: int
    """That go to a model together."""
    credits: Credits
    outbox: Outbox
    changed: Callable[[], None]
    """Told whenever a row has got its faces."""
    looked: Mailbox[Row] = field(default_factory=Mailbox[Row])
    embedded: Mailbox[Row] = field(default_factory=Mailbox[Row])

    async def embed(self) -> None:
        """Faces of frames that were looked at, to features."""
        while rows := await self.looked.take(MAX_AT_ONCE):
            crops = np.concatenate([row.crops for row in rows])
            faces = await self.estimation.embed_faces(crops, at_once=self.max_crops)
            for row in rows:
                row.faces, faces = faces[: len(row.crops)], faces[len(row.crops) :]
                if self.provisional is not None:
                    self.embedded.put(row)
            self.changed()
            if self.provisional is None:
                await self.outbox.wait_for_room()  # final results, too, hold the sender up
                self.credits.give(len(rows))
        self.embedded.close()

    async def tell(self) -> None:
        """Provisional results of embedded frames."""
        if self.provisional is None:
            return
        while rows := await self.embedded.take(MAX_AT_ONCE):
            for row in rows:
                if row.faces is not None:
                    self.provisional.see(row.sent.frame, row.faces)
            estimates = await self.provisional.estimate()
            for row, (frame, tracks) in zip(rows, estimates, strict=True):
                result = _show(row.sent.index, frame, tracks)
                response = wire.StreamingAnnotateResponse(frame_result=result)
                await self.outbox.put(Reply(response=response, arrived_at=row.sent.arrived_at))
            self.credits.give(len(rows))


def _show(index: int, frame: Frame, tracks: dict[int, Estimate | None]) -> wire.FrameResult:
    shown = [
        show_track(track, frame.face_of(track), estimate) for track, estimate in tracks.items()
    ]
    return show_frame(index, frame.time_seconds, shown, is_final=False)
