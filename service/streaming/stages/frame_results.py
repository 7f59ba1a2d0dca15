"""Points of tracks gathered into the final result of each frame, in order.

The frames of one stream that are under way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from circumplex.v1 import annotation_pb2 as wire

from service.domain.array_types import Float32Array, UInt8Array
from service.domain.clip import Frame
from service.domain.options import FaceSelection
from service.domain.timeline import TimelinePoint
from service.streaming.proto_messages import frame_to_proto, track_to_proto


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameArrival:
    """A frame, its place in the stream as it was sent, and when its last byte came.

    arrived_at: monotonic seconds; None: at another gateway, or in another session.
    """

    frame: Frame
    index: int
    arrived_at: float | None


class FrameResultAssembler:
    """The frames that wait for their final result, and the points that are there already."""

    __slots__ = ("_faces", "_points", "_waiting")

    def __init__(self, faces: FaceSelection) -> None:
        self._faces = faces
        self._waiting: deque[FrameArrival] = deque()
        self._points: dict[int, dict[int, TimelinePoint]] = {}

    def add_frame(self, arrival: FrameArrival) -> None:
        """The next frame that will get a final result."""
        self._waiting.append(arrival)

    def add_point(self, point: TimelinePoint) -> None:
        """A point that nothing can change any more."""
        self._points.setdefault(point.frame.index, {})[point.track] = point

    def drop_track(self, track: int) -> None:
        """This track's points do not count."""
        for points in self._points.values():
            points.pop(track, None)

    @property
    def next_index(self) -> int | None:
        """Which frame's result comes next; None: no frame waits."""
        return self._waiting[0].index if self._waiting else None

    def clear_arrival_times(self) -> None:
        """The frames that wait have come in another session, by another clock."""
        self._waiting = deque(replace(sent, arrived_at=None) for sent in self._waiting)

    def pop_settled(
        self, settled_frames: int, primary_track: int | None
    ) -> Iterator[tuple[FrameArrival, wire.FrameResult]]:
        """The results of the frames up to there, in order. leader: the track that leads by now."""
        while self._waiting and self._waiting[0].frame.index < settled_frames:
            sent = self._waiting.popleft()
            points = self._points.pop(sent.frame.index, {})
            if self._faces is FaceSelection.PRIMARY:
                points = {track: each for track, each in points.items() if track == primary_track}
            tracks = [
                track_to_proto(track, points[track].face, points[track].estimate)
                for track in sorted(points)
            ]
            yield sent, frame_to_proto(sent.index, sent.frame.time_seconds, tracks, is_final=True)


@dataclass(slots=True, kw_only=True)
class FrameRow:
    """A frame, the (N, 3, 112, 112) crops of its faces, and what the backbones make of it."""

    arrival: FrameArrival
    crops: UInt8Array
    faces: Float32Array | None = None
    """(N, 512)."""
    voice: Float32Array | None = None
    """(128,)."""
