"""Everyone in a clip: the points of every track, on one grid of windows, in bounded memory.

Which track is the primary one is known at the end only, so each is followed as if it were.
A track that has long been away rests: it has no points until it returns. The one that leads
never rests, so that the primary track's points reach the end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from service.domain.arrays import Floats
from service.domain.backlog import Backlog
from service.domain.carry import LastFace
from service.domain.clip import MAX_FACES, Frame
from service.domain.points import POINT_PARTS, PointMaker
from service.domain.presence import Presence
from service.domain.signatures import FACE_FEATURES
from service.domain.timeline import TimelinePoint
from service.domain.windows import Window

REST_WINDOWS: Final = 5
"""A track away for so many windows' frames rests."""
MIN_FRAMES: Final = 5
MIN_SHARE: Final = 0.1
"""A track seen in fewer frames, and in a smaller share of the clip, is taken for no person."""
MAX_AWAKE: Final = 2 * MAX_FACES
"""Tracks with points under way. Beyond them whoever is longest away rests before the time."""
MAX_TRACKS: Final = 128
"""Tracks kept of one clip. Beyond them the least present of those at rest is dropped."""

Work = Iterator[tuple[PointMaker, Window]]
"""Windows, each with the maker that its answer is for; to be answered before the next."""


@dataclass(slots=True, kw_only=True)
class _Member:
    presence: Presence
    last_face: LastFace = field(default_factory=LastFace)
    maker: PointMaker | None = None
    """None: at rest."""
    settled_frames: int = 0
    """Of the clip; those of them that need a point have it."""


class Cast:
    """The tracks of one clip.

    Call `add` for each chunk and `close` once, answering every window they yield; after each
    of them take what has settled and who was dropped.
    """

    __slots__ = (
        *("_backlog", "_dropped", "_frames", "_hop_frames", "_is_closed", "_members"),
        *("_settling", "_smoothing_seconds", "_window_frames", "is_crowded"),
    )

    def __init__(self, *, window_frames: int, hop_frames: int, smoothing_seconds: float) -> None:
        self._window_frames = window_frames
        self._hop_frames = hop_frames
        self._smoothing_seconds = smoothing_seconds
        self._backlog = Backlog(window_frames=window_frames, hop_frames=hop_frames)
        self._members: dict[int, _Member] = {}
        self._frames = 0
        self._settling: list[PointMaker] = []
        self._dropped: list[int] = []
        self._is_closed = False
        self.is_crowded = False
        """Whether tracks were left out because there were too many."""

    @property
    def primary(self) -> int | None:
        """The track that has been there most, so far."""
        ranks = {track: member.presence.rank for track, member in self._members.items()}
        return max(ranks, key=ranks.__getitem__, default=None)

    @property
    def settled_frames(self) -> int:
        """So many frames have all the points they will ever get."""
        if self._is_closed:
            return self._frames
        makers = [each.maker for each in self._members.values() if each.maker is not None]
        waiting = [maker.first_unsettled for maker in makers]
        return min([self._backlog.start, *(index for index in waiting if index is not None)])

    def add(self, frames: Sequence[Frame], faces: Floats, voice: Floats) -> Work:
        """Takes T frames, the (N, 512) faces in them, frame after frame, and (T, 128) voice."""
        rows = _rows_of_tracks(frames)
        for track in rows:
            yield from self._admit(track, rows)
        self._note(frames)
        for track, member in self._members.items():
            if member.maker is not None:
                for window in member.maker.add(frames, faces[rows.get(track, [])], voice):
                    yield member.maker, window
        self._backlog.add(frames, voice)
        self._frames += len(frames)
        yield from self._let_rest()

    def close(self) -> Work:
        """The last windows of all who are awake."""
        self._is_closed = True
        for member in self._members.values():
            yield from self._rest(member)
        for track, member in [*self._members.items()]:
            if self._is_short(member.presence):
                self._drop(track)

    def take_settled(self) -> Iterator[TimelinePoint]:
        """The last points of those who went to rest since the last call."""
        while self._settling:
            yield from self._settling.pop(0).finish()

    def take_dropped(self) -> list[int]:
        """The tracks that were dropped since the last call."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def _admit(self, track: int, present: Mapping[int, object]) -> Work:
        """Make a point maker for a track that has none, if there is room for it."""
        member = self._members.get(track)
        if member is not None and member.maker is not None:
            return
        awake = {name: each for name, each in self._members.items() if each.maker is not None}
        if len(awake) >= MAX_AWAKE:
            away = [name for name in awake if name not in present and name != self.primary]
            if not away:
                self.is_crowded = True
                return
            longest = min(away, key=lambda name: awake[name].presence.last_index)
            yield from self._rest(awake[longest])
        if member is None:
            member = _Member(presence=Presence())
            self._members[track] = member
        yield from self._wake(track, member)

    def _wake(self, track: int, member: _Member) -> Work:
        maker = PointMaker(
            track=track,
            window_frames=self._window_frames,
            hop_frames=self._hop_frames,
            smoothing_seconds=self._smoothing_seconds,
            start=self._backlog.start,
            points_from=member.settled_frames,
            last_face=member.last_face,
        )
        member.maker = maker
        unseen = np.zeros((0, FACE_FEATURES), np.float32)
        for window in maker.add(self._backlog.frames, unseen, self._backlog.voice):
            yield maker, window

    def _note(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            for face in frame.faces:
                if face.track in self._members:
                    self._members[face.track].presence.see(frame.index, face.box)

    def _let_rest(self) -> Work:
        leader = self.primary
        gone_since = self._frames - REST_WINDOWS * self._window_frames
        for track, member in self._members.items():
            if track != leader and member.presence.last_index < gone_since:
                yield from self._rest(member)
        resting = [track for track, member in self._members.items() if member.maker is None]
        resting.sort(key=lambda track: self._members[track].presence.rank, reverse=True)
        while resting and self._is_short(self._members[resting[-1]].presence):
            self._drop(resting.pop())
        while resting and len(self._members) > MAX_TRACKS:
            self._drop(resting.pop())
            self.is_crowded = True

    def _rest(self, member: _Member) -> Work:
        maker, member.maker = member.maker, None
        if maker is not None:
            for window in maker.close():
                yield maker, window
            self._settling.append(maker)
            member.settled_frames = self._frames

    def _is_short(self, presence: Presence) -> bool:
        return presence.observed_frames < min(MIN_FRAMES, MIN_SHARE * self._frames)

    def _drop(self, track: int) -> None:
        del self._members[track]
        self._dropped.append(track)


def _rows_of_tracks(frames: Sequence[Frame]) -> dict[int, list[int]]:
    """Each track's rows among the faces of these frames, frame after frame."""
    rows: dict[int, list[int]] = defaultdict(list)
    tracks = (face.track for frame in frames for face in frame.faces)
    for row, track in enumerate(tracks):
        rows[track].append(row)
    return rows


CAST_PARTS: Final = (Cast, _Member, Backlog, Presence, *POINT_PARTS)
"""All that a cast is made of between two calls, for whoever keeps one to go on later."""
