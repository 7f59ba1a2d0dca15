"""Where windows start, without the frames: the same grid as `service.domain.windows.Windower`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowGrid:
    """Windows of `window_frames`, one every `hop_frames` [L]."""

    window_frames: int = 300
    hop_frames: int = 200

    def window_starts(self, frame_count: int) -> list[int]:
        """The first frame of every window: one more for as long as a frame is in none."""
        overlap = self.window_frames - self.hop_frames
        last = max(0, -(-(frame_count - overlap) // self.hop_frames) - 1)
        return [window * self.hop_frames for window in range(last + 1)] if frame_count else []
