"""BlazeFace detectors: candidate faces of a picture.

The short-range network finds rotated faces and faces close to the camera, the full-range network
small faces and profiles.

Source: Bazarevsky et al. 2019; anchors and decoding of the published graphs
`face_detection_short_range` (strides 8 and 16 on 128x128 pixels, 2 and 6 anchors a cell) and
`face_detection_full_range` (stride 4 on 192x192 pixels, one anchor a cell).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from service.domain.array_types import Float32Array
from service.domain.planar_picture import PlanarPicture
from service.faces.tflite import FULL_RANGE_FILE, SHORT_RANGE_FILE, FaceNetwork
from service.faces.tiles import Tile, cover_picture, cut_square

MIN_SCORE: Final = 0.5
NMS_IOU_THRESHOLD: Final = 0.3
"""Boxes with a larger intersection over union are one face."""
_SHORT_RANGE_SIDE: Final = 128
_FULL_RANGE_SIDE: Final = 192


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
    """BlazeFace networks: propose candidate faces, which FaceMesh verifies."""

    def __init__(self, models_dir: Path) -> None:
        """Load the networks. Raises: FaceModelsMissing."""
        self._short_range = _SquareDetector(
            FaceNetwork(
                models_dir, SHORT_RANGE_FILE, ("classificators", "regressors"), lowest=-1.0
            ),
            side=_SHORT_RANGE_SIDE,
            anchors=_make_anchors((_SHORT_RANGE_SIDE // 8, 2), (_SHORT_RANGE_SIDE // 16, 6)),
        )
        self._full_range = _SquareDetector(
            FaceNetwork(models_dir, FULL_RANGE_FILE, ("Identity_1", "Identity"), lowest=-1.0),
            side=_FULL_RANGE_SIDE,
            anchors=_make_anchors((_FULL_RANGE_SIDE // 4, 1)),
        )

    def detect(self, picture: PlanarPicture, tiles: Iterable[Tile] = ()) -> list[Candidate]:
        """Detect faces in the whole picture at once, and in tiles; largest first."""
        whole = cover_picture(*picture.shape)
        found = self._short_range.detect(picture, whole) + self._full_range.detect(picture, whole)
        return _suppress_non_maxima(found + self._detect_small(picture, tiles))

    def detect_in_tiles(self, picture: PlanarPicture, tiles: Iterable[Tile]) -> list[Candidate]:
        """Detect faces in tiles only; largest first."""
        return _suppress_non_maxima(self._detect_small(picture, tiles))

    def _detect_small(self, picture: PlanarPicture, tiles: Iterable[Tile]) -> list[Candidate]:
        return [face for tile in tiles for face in self._full_range.detect(picture, tile)]


class _SquareDetector:
    """One network, on squares of a picture."""

    def __init__(self, network: FaceNetwork, *, side: int, anchors: Float32Array) -> None:
        self._network = network
        self._side = side
        self._anchors = anchors

    def detect(self, picture: PlanarPicture, tile: Tile) -> list[Candidate]:
        """Detect faces in a tile; several candidates for each."""
        square = cut_square(picture, tile, self._side)
        scores, boxes = self._network.run(square)
        logits = np.clip(scores.reshape(-1), -80.0, 80.0)
        probabilities = 1.0 / (1.0 + np.exp(-logits))
        selected = np.flatnonzero(probabilities >= MIN_SCORE)
        raw = boxes.reshape(-1, 16)[selected] / self._side
        anchors = self._anchors[selected]
        origin = np.array([tile.left, tile.top], dtype=np.float32)
        centres = (raw[:, 0:2] + anchors) * tile.side + origin
        sizes = raw[:, 2:4] * tile.side
        eyes = (raw[:, 4:8].reshape(-1, 2, 2) + anchors[:, None]) * tile.side + origin
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


def _make_anchors(*layers: tuple[int, int]) -> Float32Array:
    """Make (N, 2) anchor centres in [0, 1]. layers: cells along a side, and anchors a cell."""
    anchors: list[tuple[float, float]] = []
    for cells, repeats in layers:
        for row in range(cells):
            for column in range(cells):
                anchors += [((column + 0.5) / cells, (row + 0.5) / cells)] * repeats
    return np.array(anchors, dtype=np.float32)


def _suppress_non_maxima(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Select the candidate of the highest score for each face; largest first."""
    selected: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda face: -face.score):
        if all(compute_iou(candidate, other) < NMS_IOU_THRESHOLD for other in selected):
            selected.append(candidate)
    return sorted(selected, key=lambda face: -face.area)
