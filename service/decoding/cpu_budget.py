"""Processor time that one extraction may take, by the size and the length of its media.

Processor time, not wall time: a clip does not fail because the machine is busy. Bytes and frames
are counted by the service; only the size of a picture comes from the decode process.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from service.errors import ClipTooCostly

if TYPE_CHECKING:  # decode processes start without pydantic
    from service.settings import Settings

FREE_FRAMES: Final = 1000
"""Frames of any media, however few bytes it has."""
MEASURE_SECONDS: Final = 1.0
"""Interval at which a decode process is measured while it sends nothing."""
_PROGRESS_FRACTION: Final = 0.01
"""Share of a processor from which a silent process counts as working."""
_MEGA: Final = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuBudget:
    """Processor seconds for media of any kind, and by their bytes, frames and pixels."""

    base_seconds: float
    seconds_per_megabyte: float
    seconds_per_frame: float
    seconds_per_megapixel: float
    min_bytes_per_frame: float

    @staticmethod
    def from_settings(settings: Settings) -> CpuBudget:
        """Make the budget of this service's decode processes."""
        return CpuBudget(
            base_seconds=settings.decode_cpu_base_seconds,
            seconds_per_megabyte=settings.decode_cpu_seconds_per_megabyte,
            seconds_per_frame=settings.decode_cpu_seconds_per_frame,
            seconds_per_megapixel=settings.decode_cpu_seconds_per_megapixel,
            min_bytes_per_frame=settings.min_bytes_per_frame,
        )

    def max_frames(self, media_bytes: int) -> float:
        """Return how many frames media of this size may have."""
        return max_frames(media_bytes, self.min_bytes_per_frame)

    def allowed_seconds(self, media_bytes: int, frames: int, pixels: int) -> float:
        """Return the processor time for media of this size, up to this frame.

        Args: pixels: of one frame.
        """
        per_frame = self.seconds_per_frame + self.seconds_per_megapixel * pixels / _MEGA
        megabytes = media_bytes / _MEGA
        return self.base_seconds + self.seconds_per_megabyte * megabytes + per_frame * frames


def max_frames(media_bytes: int, min_bytes_per_frame: float) -> float:
    """Return how many frames media of this size may have; `min_bytes_per_frame` 0: any number."""
    return FREE_FRAMES + media_bytes / min_bytes_per_frame if min_bytes_per_frame else math.inf


class WorkAccount:
    """Media and frames of one extraction, by which its processor time is limited."""

    def __init__(self, budget: CpuBudget, *, media_bytes: int = 0, unsent_frames: int = 0) -> None:
        """Create the account of a new extraction.

        Args: unsent_frames: that the decode process may have finished and not sent yet.
        """
        self._budget = budget
        self._unsent_frames = unsent_frames
        self._frames = 0
        self.media_bytes = media_bytes
        self.pixels = 0

    def add_frames(self, count: int) -> None:
        """Count frames. Raises: ClipTooCostly: there are too many for so few bytes."""
        self._frames += count
        if self._frames > self._budget.max_frames(self.media_bytes):
            raise ClipTooCostly(
                f"The media have more than {self._frames - 1} frames in {self.media_bytes} bytes"
            )

    def check(self, cpu_seconds: float | None) -> None:
        """Check the processor time so far; None: the process has ended. Raises: ClipTooCostly."""
        frames = self._frames + self._unsent_frames
        allowed = self._budget.allowed_seconds(self.media_bytes, frames, self.pixels)
        if cpu_seconds is not None and cpu_seconds > allowed:
            raise ClipTooCostly(
                f"Decoding took more than {allowed:.0f} s of processor time for "
                f"{self.media_bytes} bytes and {self._frames} frames"
            )


class StallClock:
    """Time for which a process has neither sent anything nor computed."""

    def __init__(self, stall_seconds: float) -> None:
        self._stall_seconds = stall_seconds
        self._min_cpu_seconds = stall_seconds * _PROGRESS_FRACTION
        self._since = time.monotonic()
        self._cpu_seconds = 0.0

    def restart(self, since: float) -> None:
        """Count from this time on, unless it counts from a later one."""
        self._since = max(self._since, since)

    def is_stalled(self, cpu_seconds: float | None) -> bool:
        """Return whether the time is over; the process's work since the last call restarts it."""
        now = time.monotonic()
        if cpu_seconds is not None and cpu_seconds - self._cpu_seconds >= self._min_cpu_seconds:
            self._cpu_seconds = cpu_seconds
            self._since = now
        return now - self._since > self._stall_seconds
