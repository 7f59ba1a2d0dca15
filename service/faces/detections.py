"""What a face finder says of one picture, whatever found it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from service.domain.array_types import Float32Array, UInt8Array
from service.domain.clip import FaceBox
from service.domain.snapshot_codec import State


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedDetection:
    """A face in a picture, and whose it is.

    track: a number from 1; the same face keeps it through the clip.
    points: (5, 2) float32 pixels: the eye and mouth corner on the picture's left, then right,
        in the order of the ArcFace template (eye, eye, nose, mouth corner, mouth corner).
    """

    track: int
    box: FaceBox
    landmarks: Float32Array


class FaceFinder(Protocol):
    """Follows the faces through the pictures of one clip, in order."""

    @property
    def is_crowded(self) -> bool:
        """Whether there were more faces at a time than are followed."""
        ...

    def find(self, picture: UInt8Array) -> Sequence[TrackedDetection]:
        """The faces of the next (H, W, 3) RGB picture, those that have been there most first."""
        ...

    def save(self) -> State:
        """All that the pictures so far have left behind."""
        ...

    def restore(self, state: State) -> None:
        """Go on where a finder of the same settings was saved."""
        ...
