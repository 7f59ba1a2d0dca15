"""Final results of a stream: the estimation that jobs use, and its points collected by frame."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, field, replace

import numpy as np

from service.domain.array_types import BoolArray, Float32Array, Float64Array, Int64Array, UInt8Array
from service.domain.class_probabilities import (
    ClassProbabilities,
    pack_class_probabilities,
    unpack_class_probabilities,
)
from service.domain.clip import Estimate, Frame, TimelinePoint, TrackDropped
from service.domain.options import FaceSelection
from service.pipeline.estimation import Estimator
from service.streaming.events import MediaReleased, StreamResult, TrackEstimate
from service.streaming.flow_control import ResponseQueue, ResultPacer


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameArrival:
    """A frame, its place in the stream as it was sent, and when its last byte was received.

    arrived_at: monotonic seconds; None: received by an earlier session.
    """

    frame: Frame
    index: int
    arrived_at: float | None


@dataclass(slots=True, kw_only=True)
class FrameRow:
    """A frame on its way through the stages.

    crops: (N, 3, 112, 112) of its faces; faces: (N, 512), voice: (128,), None until embedded.
    """

    arrival: FrameArrival
    crops: UInt8Array
    faces: Float32Array | None = None
    voice: Float32Array | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AssemblerSnapshot:
    """State of a FrameResultAssembler but for its frames, which are the latest ones of the stream.

    indices: (T,) places in the stream of the pending frames. The points as columns, frame after
    frame: point_counts (T,), tracks (P,), estimates (P, 6), is_estimated (P,), classes (P, C).
    """

    indices: Int64Array
    point_counts: Int64Array
    tracks: Int64Array
    estimates: Float64Array
    is_estimated: BoolArray
    classes: Float32Array


class FrameResultAssembler:
    """Frames that wait for their final result, and the points they have so far."""

    __slots__ = ("_faces", "_pending", "_points")

    def __init__(self, faces: FaceSelection) -> None:
        self._faces = faces
        self._pending: deque[FrameArrival] = deque()
        self._points: dict[int, dict[int, TimelinePoint]] = {}

    def add_frame(self, arrival: FrameArrival) -> None:
        """Add the next frame."""
        self._pending.append(arrival)

    def add_point(self, point: TimelinePoint) -> None:
        """Add a final point of a pending frame."""
        self._points.setdefault(point.frame.index, {})[point.track] = point

    def drop_track(self, track: int) -> None:
        """Remove the points of a track."""
        for points in self._points.values():
            points.pop(track, None)

    def pop_settled(
        self, settled_frames: int, primary_track: int | None
    ) -> Iterator[tuple[FrameArrival, StreamResult]]:
        """Remove the frames before `settled_frames` and yield their results, in order.

        Args: primary_track: so far; without it no result has tracks if only the primary is wanted.
        """
        while self._pending and self._pending[0].frame.index < settled_frames:
            arrival = self._pending.popleft()
            points = self._points.pop(arrival.frame.index, {})
            if self._faces is FaceSelection.PRIMARY:
                points = {track: each for track, each in points.items() if track == primary_track}
            yield arrival, _make_final_result(arrival, points)

    def snapshot(self) -> AssemblerSnapshot:
        """Return the state, to be restored by `from_snapshot`."""
        by_frame = [
            [*self._points.get(arrival.frame.index, {}).values()] for arrival in self._pending
        ]
        points = [point for points in by_frame for point in points]
        estimates = [astuple(each.estimate) if each.estimate else (0.0,) * 6 for each in points]
        return AssemblerSnapshot(
            indices=np.array([arrival.index for arrival in self._pending], np.int64),
            point_counts=np.array([len(points) for points in by_frame], np.int64),
            tracks=np.array([point.track for point in points], np.int64),
            estimates=np.array(estimates, np.float64).reshape(-1, 6),
            is_estimated=np.array([point.estimate is not None for point in points], np.bool_),
            classes=pack_class_probabilities([point.class_probabilities for point in points]),
        )

    @classmethod
    def from_snapshot(
        cls, snapshot: AssemblerSnapshot, *, faces: FaceSelection, latest_frames: Sequence[Frame]
    ) -> FrameResultAssembler:
        """Restore an assembler. latest_frames: of the stream, at least the pending ones."""
        assembler = cls(faces)
        points = _restore_points(snapshot)
        frames = latest_frames[len(latest_frames) - len(snapshot.indices) :]
        for frame, index, count in zip(
            frames, snapshot.indices.tolist(), snapshot.point_counts.tolist(), strict=True
        ):
            assembler.add_frame(FrameArrival(frame=frame, index=index, arrived_at=None))
            for track, estimate, classes in (next(points) for _ in range(count)):
                point = TimelinePoint(
                    track=track, frame=frame, estimate=estimate, class_probabilities=classes
                )
                assembler.add_point(point)
        return assembler


def _restore_points(
    snapshot: AssemblerSnapshot,
) -> Iterator[tuple[int, Estimate | None, ClassProbabilities]]:
    for track, values, is_estimated, classes in zip(
        snapshot.tracks.tolist(),
        snapshot.estimates.tolist(),
        snapshot.is_estimated.tolist(),
        unpack_class_probabilities(snapshot.classes),
        strict=True,
    ):
        yield track, Estimate.of(values) if is_estimated else None, classes


def _make_final_result(arrival: FrameArrival, points: dict[int, TimelinePoint]) -> StreamResult:
    tracks = (
        TrackEstimate(
            track=track,
            box=point.face,
            estimate=point.estimate,
            class_probabilities=point.class_probabilities,
        )
        for track, point in sorted(points.items())
    )
    return StreamResult(
        index=arrival.index,
        time_seconds=arrival.frame.time_seconds,
        is_final=True,
        tracks=tuple(tracks),
    )


SaveResults = Callable[[Sequence[StreamResult], bool], Awaitable[MediaReleased | None]]
"""Called with results before they are sent, and whether they are the last; returns the media that
need not be sent again once they are."""


@dataclass(slots=True, kw_only=True)
class FinalStage:
    """The last stage of a stream: works in blocks of frames, like a job."""

    estimation: Estimator
    result_assembler: FrameResultAssembler
    response_queue: ResponseQueue
    save_results: SaveResults
    pacer: ResultPacer
    make_resume_token: Callable[[int], str]
    """Function that returns the resume token of the final result with this index."""
    block_frames: int
    """Frames of a block; the same number as in a job."""
    rows: deque[FrameRow] = field(default_factory=deque[FrameRow])
    """The frames that have not been processed, in order."""
    finalized_frames: int = 0
    """Frames that have been processed."""
    next_index: int = 0
    """Place in the stream after the last processed frame."""
    last_frame_seconds: float = -math.inf
    """Time of that frame."""
    last_final_index: int = -1
    """Index of the last final result made."""
    last_delivered_index: int = -1
    """Index of the last final result sent, or received by the client before it resumed."""
    dropped_tracks: list[int] = field(default_factory=list[int])
    is_between_blocks: bool = True
    """True while no block is being processed: a checkpoint may be made."""
    _is_closed: bool = False
    _rows_changed: asyncio.Event = field(default_factory=asyncio.Event)

    def notify_rows_changed(self) -> None:
        """Wake `run`, which processes the next block once all its rows are complete."""
        self._rows_changed.set()

    def close(self) -> None:
        """Mark the end of the rows; all of them are complete."""
        self._is_closed = True
        self._rows_changed.set()

    async def run(self) -> None:
        """Process the rows block by block, and the rest at the end."""
        while not self._is_closed:
            await self._rows_changed.wait()
            self._rows_changed.clear()
            while self._count_complete_rows() == self.block_frames:
                await self._process_rows(self.block_frames)
        while self.rows:
            await self._process_rows(min(len(self.rows), self.block_frames))
        self.is_between_blocks = False
        await self._apply_events(self.estimation.close())
        await self._emit_final_results(is_last=True)

    def _count_complete_rows(self) -> int:
        """Count the complete rows at the front, up to a block."""
        count = 0
        for row in self.rows:
            if row.faces is None or row.voice is None or count == self.block_frames:
                break
            count += 1
        return count

    async def _process_rows(self, count: int) -> None:
        self.is_between_blocks = False
        rows = [self.rows.popleft() for _ in range(count)]
        for row in rows:
            self.result_assembler.add_frame(row.arrival)
        frames = [row.arrival.frame for row in rows]
        faces = np.concatenate([row.faces for row in rows if row.faces is not None])
        voice = np.stack([row.voice for row in rows if row.voice is not None])
        await self._apply_events(self.estimation.add(frames, faces, voice))
        self.finalized_frames += count
        self.next_index = rows[-1].arrival.index + 1
        self.last_frame_seconds = rows[-1].arrival.frame.time_seconds
        await self._emit_final_results()

    async def _apply_events(self, events: AsyncIterator[TimelinePoint | TrackDropped]) -> None:
        """Have the results estimated, for no other stream meanwhile, and collect them."""
        async with self.pacer.estimation_lock:
            async for event in events:
                if isinstance(event, TimelinePoint):
                    self.result_assembler.add_point(event)
                else:
                    self.result_assembler.drop_track(event.track)
                    self.dropped_tracks.append(event.track)

    async def _emit_final_results(self, *, is_last: bool = False) -> None:
        """Send the results that are final by now, once a checkpoint contains them."""
        tracks = self.estimation.tracks
        settled = [
            (arrival, result)
            for arrival, result in self.result_assembler.pop_settled(
                tracks.finalized_frames, tracks.primary_track
            )
            if result.index > self.last_delivered_index
        ]
        self.is_between_blocks = not is_last
        if not settled and not is_last:
            return
        self.last_final_index = max(
            [self.last_final_index, *(result.index for _, result in settled)]
        )
        released = await self.save_results([result for _, result in settled], is_last)
        for number, (arrival, result) in enumerate(settled):
            await self.pacer.wait(number)
            token = self.make_resume_token(result.index)
            await self.response_queue.put(replace(result, resume_token=token), arrival.arrived_at)
            self.last_delivered_index = result.index
        if released is not None:
            await self.response_queue.put(released)
