"""Data of a contact sheet: the columns of a JSON result, and the pictures of some of its frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from service.domain.array_types import BoolArray, Float64Array, Int64Array, UInt8Array
from service.domain.model_signatures import TARGETS
from service.media.demux import open_container
from service.media.media_info import ClipLimits
from service.media.stream_selection import select_video_stream
from service.media.video import VideoReader
from training.inspection.errors import ResultOfAnotherClip, ResultUnreadable

_LIMITS: Final = ClipLimits(max_seconds=1e9, max_frames=2**62, max_pixels=2**28)
"""None of their own: the service has accepted the clip."""
_TIME_TOLERANCE_SECONDS: Final = 1e-3
_SURROUNDINGS: Final = 2.0
"""Side of the square that is shown, in heights of the face."""
_BOX: Final = ("left", "top", "width", "height")


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetColumns:
    """Columns of the primary face, (T,) each, NaN where unknown.

    curves: valence, arousal, and each with `_std` and `_smoothed`. box: (T, 4) left, top, width,
    height in pixels. classes: probabilities by name; empty: the model has none.
    """

    time: Float64Array
    curves: Mapping[str, Float64Array]
    box: Float64Array
    classes: Mapping[str, Float64Array]

    @property
    def observed(self) -> BoolArray:
        """(T,) True where the face was found."""
        return np.asarray(np.isfinite(self.box).all(axis=1), np.bool_)

    def find_top_class(self, frame: int) -> tuple[str, float] | None:
        """Find the most probable class of a frame; None: there is none."""
        found = {name: float(values[frame]) for name, values in self.classes.items()}
        found = {name: value for name, value in found.items() if np.isfinite(value)}
        return max(found.items(), key=lambda item: item[1]) if found else None


def read_columns(result: Mapping[str, Any]) -> SheetColumns:
    """Read the columns of a JSON result. Raises: ResultUnreadable."""
    try:
        frames: Mapping[str, Any] = result["frames"]
        names = [name + ending for name in TARGETS for ending in ("", "_std", "_smoothed")]
        classes: Mapping[str, Sequence[Any]] = frames.get("classes") or {}
        return SheetColumns(
            time=np.array(frames["time"], np.float64),
            curves={name: np.array(frames[name], np.float64) for name in names},
            box=np.stack([np.array(frames["face"][name], np.float64) for name in _BOX], axis=1),
            classes={name: np.array(values, np.float64) for name, values in classes.items()},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ResultUnreadable(f"no JSON result of this service: {error!r}") from error


def choose_frames(columns: SheetColumns, count: int) -> Int64Array:
    """Choose at most `count` frames, evenly over the clip. Raises: ResultUnreadable."""
    total = len(columns.time)
    if total == 0:
        raise ResultUnreadable("the result has no frames")
    return np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(np.int64))


def read_pictures(clip: Path, columns: SheetColumns, frames: Int64Array) -> list[UInt8Array]:
    """Read the pictures of the chosen frames, as displayed, (H, W, 3) RGB each.

    Raises: ClipError; ResultOfAnotherClip: the clip's frames have other times.
    """
    chosen = set(frames.tolist())
    pictures: list[UInt8Array] = []
    with open_container(clip) as container:
        stream = select_video_stream(container, clip)
        reader = VideoReader(container, stream, limits=_LIMITS, threads=1)
        for index, picture in enumerate(islice(reader.read(), max(chosen) + 1)):
            if index in chosen:
                if abs(picture.time_seconds - columns.time[index]) > _TIME_TOLERANCE_SECONDS:
                    raise ResultOfAnotherClip(
                        f"frame {index} of {clip} is at {picture.time_seconds:.3f} s, "
                        f"in the result at {columns.time[index]:.3f} s"
                    )
                pictures.append(picture.planes.to_rgb())
    if len(pictures) != len(chosen):
        raise ResultOfAnotherClip(f"{clip} has fewer frames than the result")
    return pictures


def cut_tile(
    picture: UInt8Array, box: Float64Array, height: int
) -> tuple[UInt8Array, Float64Array]:
    """Cut the face's surroundings, twice its box, and scale them to `height` rows.

    The whole picture where there is no face, or where it is smaller. Returns: the tile, and the
    box in its pixels.
    """
    rows, columns = picture.shape[:2]
    left, top, right, bottom = 0.0, 0.0, float(columns), float(rows)
    if np.isfinite(box).all():
        side = min(_SURROUNDINGS * max(box[2], box[3]), rows, columns)
        left = float(np.clip(box[0] + box[2] / 2 - side / 2, 0, columns - side))
        top = float(np.clip(box[1] + box[3] / 2 - side / 2, 0, rows - side))
        right, bottom = left + side, top + side
    part = picture[int(top) : int(bottom), int(left) : int(right)]
    scale = height / part.shape[0]
    size = (max(1, round(part.shape[1] * scale)), height)
    tile = cv2.resize(part, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    moved = (box - np.array([int(left), int(top), 0, 0])) * scale
    return np.asarray(tile, np.uint8), moved
