"""The short clips that are submitted: made by code, small, each with an outcome of its own."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np

from tests.media.factory import PictureTrack, write
from training.synthetic.camera import Camera
from training.synthetic.clip import demo_performance, film, sound_of, write_clip
from training.synthetic.studio import Studio

_SIZE: Final = (240, 180)
_KEPT_SHARE: Final = 0.6
"""Of a file whose index comes last: what is missing then is the index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A file to submit. choices: of the submission, as its query has them.

    error_code: how its job has to fail; None: it has to succeed.
    """

    name: str
    data: bytes = field(repr=False)
    choices: dict[str, str] = field(default_factory=dict[str, str])
    error_code: str | None = None


def make_clips() -> tuple[Clip, ...]:
    """Every clip, always the same bytes with the same libraries."""
    with tempfile.TemporaryDirectory(prefix="circumplex-clips-") as name:
        folder = Path(name)
        talking = _film(folder / "talking.mp4", seed=7, seconds=1.0, rate=10)
        grown = _film(folder / "other.mkv", seed=8, seconds=0.8, rate=15)
        silent = _film(folder / "silent.mp4", seed=7, seconds=0.5, rate=12, has_sound=False)
        faceless = write(
            folder / "faceless.ts", PictureTrack(count=6), fflags="+bitexact"
        ).read_bytes()
    return (
        Clip(name="talking.mp4", data=talking),
        Clip(name="tracks.mp4", data=talking, choices={"faces": "all"}),
        Clip(name="other.mkv", data=grown),
        Clip(name="silent.mp4", data=silent),
        Clip(name="faceless.ts", data=faceless),
        Clip(
            name="broken.mp4",
            data=silent[: int(len(silent) * _KEPT_SHARE)],
            error_code="clip_truncated",
        ),
    )


def _film(path: Path, *, seed: int, seconds: float, rate: int, has_sound: bool = True) -> bytes:
    performance = demo_performance(seed=seed, seconds=1.0)
    width, height = _SIZE
    studio = Studio(performance, Camera.of_seed(seed), height=height, width=width)
    times = np.arange(round(seconds * rate)) / rate
    write_clip(
        path,
        film(performance, studio, times),
        rate=Fraction(rate),
        waveform=sound_of(performance) if has_sound else None,
    )
    return path.read_bytes()
