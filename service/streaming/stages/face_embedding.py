"""Faces of a stream: through the backbone, and at once to a provisional result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from circumplex.v1 import annotation_pb2 as wire

from service.domain.clip import Frame
from service.domain.timeline import Estimate
from service.pipeline.estimation import Estimator
from service.streaming.flow_control import BatchQueue, FrameCredits
from service.streaming.proto_messages import frame_to_proto, track_to_proto
from service.streaming.response_queue import QueuedResponse, ResponseQueue
from service.streaming.stages.frame_results import FrameRow
from service.streaming.stages.provisional import ProvisionalEstimator

MAX_AT_ONCE: Final = 16
"""Frames of one stream that are told of together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceEmbeddingStage:
    """Two steps that work side by side: embedding frames, and telling of those before."""

    estimation: Estimator
    provisional: ProvisionalEstimator | None
    """None: only final results are wanted."""
    max_crops: int
    """That go to a model together."""
    credits: FrameCredits
    response_queue: ResponseQueue
    on_rows_changed: Callable[[], None]
    """Told whenever a row has got its faces."""
    input_rows: BatchQueue[FrameRow] = field(default_factory=BatchQueue[FrameRow])
    embedded_rows: BatchQueue[FrameRow] = field(default_factory=BatchQueue[FrameRow])

    async def embed(self) -> None:
        """Faces of frames that were looked at, to features."""
        while rows := await self.input_rows.take(MAX_AT_ONCE):
            crops = np.concatenate([row.crops for row in rows])
            faces = await self.estimation.embed_faces(crops, batch_size=self.max_crops)
            for row in rows:
                row.faces, faces = faces[: len(row.crops)], faces[len(row.crops) :]
                if self.provisional is not None:
                    self.embedded_rows.put(row)
            self.on_rows_changed()
            if self.provisional is None:
                await (
                    self.response_queue.wait_for_capacity()
                )  # final results, too, hold the sender up
                self.credits.release(len(rows))
        self.embedded_rows.close()

    async def emit_provisional_results(self) -> None:
        """Provisional results of embedded frames."""
        if self.provisional is None:
            return
        while rows := await self.embedded_rows.take(MAX_AT_ONCE):
            for row in rows:
                if row.faces is not None:
                    self.provisional.add_frame(row.arrival.frame, row.faces)
            estimates = await self.provisional.estimate()
            for row, (frame, tracks) in zip(rows, estimates, strict=True):
                result = _provisional_to_proto(row.arrival.index, frame, tracks)
                response = wire.StreamingAnnotateResponse(frame_result=result)
                await self.response_queue.put(
                    QueuedResponse(response=response, arrived_at=row.arrival.arrived_at)
                )
            self.credits.release(len(rows))


def _provisional_to_proto(
    index: int, frame: Frame, tracks: dict[int, Estimate | None]
) -> wire.FrameResult:
    shown = [
        track_to_proto(track, frame.find_face(track), estimate)
        for track, estimate in tracks.items()
    ]
    return frame_to_proto(index, frame.time_seconds, shown, is_final=False)
