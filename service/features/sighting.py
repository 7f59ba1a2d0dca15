"""What a face finder says of one picture, whatever found it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from service.domain.arrays import Bytes, Floats
from service.domain.clip import FaceBox


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A face in a picture.

    points: (5, 2) float32 pixels: the eye and mouth corner on the picture's left, then right,
        in the order of the ArcFace template (eye, eye, nose, mouth corner, mouth corner).
    """

    box: FaceBox
    points: Floats


class FaceFinder(Protocol):
    """Follows the primary face through the pictures of one clip, in order."""

    def find(self, picture: Bytes) -> Sighting | None:
        """The primary face of the next (H, W, 3) RGB picture, or None."""
        ...
