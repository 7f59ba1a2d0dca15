"""How much a track is there, which decides whose clip it is."""

from __future__ import annotations

from dataclasses import dataclass

from service.domain.clip import FaceBox


@dataclass(slots=True, kw_only=True)
class TrackStatistics:
    """The frames in which a track's face was found, and its area in them, square pixels."""

    first_index: int = -1
    last_index: int = -1
    observed_frames: int = 0
    _area: float = 0.0

    def update(self, index: int, box: FaceBox) -> None:
        """The face is in this frame."""
        if not self.observed_frames:
            self.first_index = index
        self.last_index = index
        self.observed_frames += 1
        self._area += box.width * box.height

    @property
    def rank(self) -> tuple[int, float, int]:
        """The greatest is primary: most frames, then the larger mean area, then the earlier."""
        mean_area = self._area / max(self.observed_frames, 1)
        return self.observed_frames, mean_area, -self.first_index
