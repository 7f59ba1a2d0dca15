"""Choice of the face tracks of a video that belong to each of its recordings.

A recording has the primary track, as a result of the service; `_left` and `_right` have the tracks
on their side of the picture [I].
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from service.domain.clip import Frame, TrackStatistics

_SIDE: Final = re.compile(r"_(left|right)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFace:
    """A face in one frame. centre: of its box, pixels from the left; area: square pixels."""

    frame: int
    track: int
    centre: float
    area: float


class FaceTable:
    """Faces of all frames of a video, without their pixels."""

    def __init__(self) -> None:
        self.frame_count = 0
        self._faces: list[FoundFace] = []
        self._statistics: defaultdict[int, TrackStatistics] = defaultdict(TrackStatistics)

    def add(self, frame: Frame) -> None:
        """Add the faces of the next frame."""
        self.frame_count += 1
        for face in frame.faces:
            box = face.box
            self._statistics[face.track].update(frame.index, box)
            self._faces.append(
                FoundFace(
                    frame=frame.index,
                    track=face.track,
                    centre=box.left + box.width / 2,
                    area=box.width * box.height,
                )
            )

    def select(self, recordings: Sequence[str], *, width: float) -> dict[str, dict[int, int]]:
        """Select the track of each frame for each recording: {recording: {frame: track}}.

        Args: width: of the picture, pixels.
        """
        ranked = sorted(self._statistics, key=lambda track: self._statistics[track].rank)[::-1]
        centres = {track: self._find_centre(track) for track in ranked}
        # between the two main people; with one of them in view, the middle of the picture
        middle = np.mean([centres[track] for track in ranked[:2]]) if ranked[1:] else width / 2
        selected: dict[str, dict[int, int]] = {}
        for name in recordings:
            side = _SIDE.search(name)
            if side is None:
                tracks = ranked[:1]
            elif side[1] == "left":
                tracks = [track for track in ranked if centres[track] < middle]
            else:
                tracks = [track for track in ranked if centres[track] >= middle]
            selected[name] = _choose_largest(self._faces, frozenset(tracks))
        return selected

    def _find_centre(self, track: int) -> float:
        return float(np.median([face.centre for face in self._faces if face.track == track]))


def _choose_largest(faces: Iterable[FoundFace], tracks: frozenset[int]) -> dict[int, int]:
    """Return the track of the largest face of these tracks in each frame that has one."""
    largest: dict[int, FoundFace] = {}
    for face in faces:
        if face.track in tracks:
            known = largest.get(face.frame)
            largest[face.frame] = face if known is None or face.area > known.area else known
    return {frame: face.track for frame, face in largest.items()}
