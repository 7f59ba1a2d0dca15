"""The short clips that are submitted: made by code, small, each with an outcome of its own."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np

from tests.media.clip_factory import VideoTrack, encode_clip
from training.synthetic.camera import Camera
from training.synthetic.clip import create_demo_performance, render_audio, render_frames, write_clip
from training.synthetic.renderer import PerformanceRenderer

_SIZE: Final = (240, 180)
_REMAINING_SHARE: Final = 0.6
"""Of a file whose index comes last: what is missing then is the index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosClip:
    """A file to submit. choices: of the submission, as its query has them.

    error_code: how its job has to fail; None: it has to succeed.
    """

    name: str
    data: bytes = field(repr=False)
    query: dict[str, str] = field(default_factory=dict[str, str])
    error_code: str | None = None


def make_clips() -> tuple[ChaosClip, ...]:
    """Every clip, always the same bytes with the same libraries."""
    with tempfile.TemporaryDirectory(prefix="circumplex-clips-") as name:
        folder = Path(name)
        talking = _render_clip(folder / "talking.mp4", seed=7, seconds=1.0, rate=10)
        grown = _render_clip(folder / "other.mkv", seed=8, seconds=0.8, rate=15)
        silent = _render_clip(folder / "silent.mp4", seed=7, seconds=0.5, rate=12, has_sound=False)
        faceless = encode_clip(
            folder / "faceless.ts", VideoTrack(count=6), fflags="+bitexact"
        ).read_bytes()
    return (
        ChaosClip(name="talking.mp4", data=talking),
        ChaosClip(name="tracks.mp4", data=talking, query={"faces": "all"}),
        ChaosClip(name="other.mkv", data=grown),
        ChaosClip(name="silent.mp4", data=silent),
        ChaosClip(name="faceless.ts", data=faceless),
        ChaosClip(
            name="broken.mp4",
            data=silent[: int(len(silent) * _REMAINING_SHARE)],
            error_code="clip_truncated",
        ),
    )


def _render_clip(
    path: Path, *, seed: int, seconds: float, rate: int, has_sound: bool = True
) -> bytes:
    performance = create_demo_performance(seed=seed, seconds=1.0)
    width, height = _SIZE
    studio = PerformanceRenderer(performance, Camera.from_seed(seed), height=height, width=width)
    times = np.arange(round(seconds * rate)) / rate
    write_clip(
        path,
        render_frames(performance, studio, times),
        rate=Fraction(rate),
        waveform=render_audio(performance) if has_sound else None,
    )
    return path.read_bytes()
