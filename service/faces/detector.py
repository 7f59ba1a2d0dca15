"""BlazeFace (short range) detector: candidate faces of a picture.

Source: Bazarevsky et al. 2019; anchors, decoding and thresholds of the published graph
`face_detection_short_range`: strides 8 and 16 on 128x128 pixels, 2 and 6 anchors a cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from service.domain.array_types import Float32Array, UInt8Array
from service.faces.tflite import DETECTOR_FILE, FaceNetwork

INPUT_SIDE: Final = 128
MIN_SCORE: Final = 0.5
NMS_IOU_THRESHOLD: Final = 0.3
"""Boxes with a larger intersection over union are one face."""
SEARCH_SIDE: Final = 640
"""Faces are searched in a picture whose longer side is at most this many pixels."""
TILE_SHARES: Final = (1.0, 0.6)
"""Tile sides, as shares of the picture's shorter side."""
MIN_TILE_SHARE: Final = 1 / 8
"""Share of the longer side: a picture of a few rows would be thousands of tiles."""
ALL_TILES: Final = slice(None)
_OUTPUTS: Final = ("classificators", "regressors")
"""Face logits, and boxes with eyes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A box in pixels of the picture, its score in [0, 1] and its two eyes, (2, 2) pixels."""

    left: float
    top: float
    width: float
    height: float
    score: float
    eyes: Float32Array

    @property
    def area(self) -> float:
        """Square pixels."""
        return self.width * self.height


def compute_iou(one: Candidate, other: Candidate) -> float:
    """Compute the intersection over union of two boxes."""
    width = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    height = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / max(one.area + other.area - shared, 1e-9)


class FaceDetector:
    """BlazeFace network: proposes candidate faces, which FaceMesh verifies."""

    def __init__(self, models_dir: Path) -> None:
        """Load the network. Raises: FaceModelsMissing."""
        self._network = FaceNetwork(models_dir, DETECTOR_FILE, _OUTPUTS)
        self._anchors = _make_anchors()

    def detect(self, picture: UInt8Array) -> list[Candidate]:
        """Detect faces in the whole (H, W, 3) RGB picture at once; largest first."""
        small, scale = _downscale(picture)
        return _suppress_non_maxima(
            self._detect_in_window(small, _whole_picture_window(small), scale)
        )

    def detect_in_tiles(
        self, picture: UInt8Array, tiles: slice = ALL_TILES
    ) -> list[Candidate] | None:
        """Detect faces in overlapping tiles, small ones too; largest first.

        Args: tiles: those of this call. Returns: None: there are no such tiles.
        """
        small, scale = _downscale(picture)
        selected = list(make_tiles(small))[tiles]
        if not selected:
            return None
        return _suppress_non_maxima(
            [face for tile in selected for face in self._detect_in_window(small, tile, scale)]
        )

    def _detect_in_window(
        self, picture: UInt8Array, window: tuple[int, int, int], scale: float
    ) -> list[Candidate]:
        left, top, side = window
        scores, boxes = self._network.run(_square_input(picture, window))
        logits = np.clip(scores.reshape(-1), -80.0, 80.0)
        probabilities = 1.0 / (1.0 + np.exp(-logits))
        selected = np.flatnonzero(probabilities >= MIN_SCORE)
        raw = boxes.reshape(-1, 16)[selected] / INPUT_SIDE
        anchors = self._anchors[selected]
        origin = np.array([left, top], dtype=np.float32)
        centres = ((raw[:, 0:2] + anchors) * side + origin) / scale
        sizes = raw[:, 2:4] * side / scale
        eyes = ((raw[:, 4:8].reshape(-1, 2, 2) + anchors[:, None]) * side + origin) / scale
        return [
            Candidate(
                left=float(centre[0] - size[0] / 2),
                top=float(centre[1] - size[1] / 2),
                width=float(size[0]),
                height=float(size[1]),
                score=float(score),
                eyes=pair.astype(np.float32),
            )
            for centre, size, pair, score in zip(
                centres, sizes, eyes, probabilities[selected], strict=True
            )
            if size.min() > 0
        ]


def _make_anchors() -> Float32Array:
    """Make (896, 2) anchor centres in [0, 1]."""
    anchors: list[tuple[float, float]] = []
    for cells, repeats in ((INPUT_SIDE // 8, 2), (INPUT_SIDE // 16, 6)):
        for row in range(cells):
            for column in range(cells):
                anchors += [((column + 0.5) / cells, (row + 0.5) / cells)] * repeats
    return np.array(anchors, dtype=np.float32)


def _downscale(picture: UInt8Array) -> tuple[UInt8Array, float]:
    """Scale the picture to search size; returns the scale too (at most 1)."""
    height, width = picture.shape[:2]
    scale = min(1.0, SEARCH_SIDE / max(height, width))
    if scale == 1.0:
        return picture, 1.0
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8), scale


def _whole_picture_window(picture: UInt8Array) -> tuple[int, int, int]:
    height, width = picture.shape[:2]
    side = max(height, width)
    return (width - side) // 2, (height - side) // 2, side


def make_tiles(picture: UInt8Array) -> Iterator[tuple[int, int, int]]:
    """Yield squares (left, top, side) that cover the picture with a fifth of overlap."""
    height, width = picture.shape[:2]
    for share in TILE_SHARES:
        side = max(1, int(min(height, width) * share), int(max(height, width) * MIN_TILE_SHARE))
        for top in _tile_starts(height, side):
            for left in _tile_starts(width, side):
                yield left, top, side


def _tile_starts(length: int, side: int) -> list[int]:
    steps = max(0, int(np.ceil((length - side) / (0.8 * side))))
    return [round(step * (length - side) / max(steps, 1)) for step in range(steps + 1)]


def _square_input(picture: UInt8Array, window: tuple[int, int, int]) -> Float32Array:
    """Cut a square of the picture, black outside it: (128, 128, 3) in [-1, 1]."""
    left, top, side = window
    height, width = picture.shape[:2]
    inside = picture[max(top, 0) : min(top + side, height), max(left, 0) : min(left + side, width)]
    scale = INPUT_SIDE / side
    size = (max(1, round(inside.shape[1] * scale)), max(1, round(inside.shape[0] * scale)))
    small = cv2.resize(inside, size, interpolation=cv2.INTER_AREA)
    square = np.zeros((INPUT_SIDE, INPUT_SIDE, 3), dtype=np.uint8)
    row, column = round(max(-top, 0) * scale), round(max(-left, 0) * scale)
    square[row : row + size[1], column : column + size[0]] = small[
        : INPUT_SIDE - row, : INPUT_SIDE - column
    ]
    return square.astype(np.float32) / np.float32(127.5) - np.float32(1)


def _suppress_non_maxima(candidates: list[Candidate]) -> list[Candidate]:
    """Select the candidate of the highest score for each face; largest first."""
    selected: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda face: -face.score):
        if all(compute_iou(candidate, other) < NMS_IOU_THRESHOLD for other in selected):
            selected.append(candidate)
    return sorted(selected, key=lambda face: -face.area)
