"""The main face of each picture: BlazeFace finds it, and FaceMesh follows it.

The loop of MediaPipe's FaceMesh: the mesh of one picture gives the region in the next, and the
detector runs where there is no face, and once a second to see whether a larger one has come.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter

Array = np.ndarray[Any, np.dtype[Any]]

DETECTOR_SIDE: Final = 128
MESH_SIDE: Final = 192
REGION_SCALE: Final = 1.5
MIN_SCORE: Final = 0.5
DETECTION_INTERVAL_PICTURES: Final = 25
LARGER_FACE: Final = 1.5
CROP_SIDE: Final = 112
TEMPLATE: Final = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
"""The five points of ArcFace's alignment, pixels of the crop."""


class FaceFollower:
    """Follows one face through the pictures of a clip."""

    def __init__(self, files: Path) -> None:
        self._detector = _Network(
            files / "face_detection_short_range.tflite", ("classificators", "regressors")
        )
        self._mesh = _Network(files / "face_landmark.tflite", ("conv2d_31", "conv2d_21"))
        self._anchors = _make_anchors()
        self.reset()

    def reset(self) -> None:
        """Begin another clip."""
        self._points: Array | None = None
        self._pictures = 0

    def find(self, picture: Array) -> Array | None:
        """Find the (5, 2) landmarks of the face in the next (H, W, 3) BGR picture."""
        if self._points is not None:
            self._points = self._measure(picture, _region_of_mesh(self._points))
        if self._points is None or self._pictures % DETECTION_INTERVAL_PICTURES == 0:
            self._look_around(picture)
        self._pictures += 1
        return None if self._points is None else _select_landmarks(self._points)

    def _look_around(self, picture: Array) -> None:
        """Take the largest face of the picture, unless the one that is followed is as large."""
        region = self._detect(picture)
        if region is None:
            return
        followed = 0.0 if self._points is None else _region_of_mesh(self._points)[1]
        if region[1] > LARGER_FACE * followed:
            measured = self._measure(picture, region)
            self._points = self._points if measured is None else measured

    def _detect(self, picture: Array) -> tuple[Array, float, float] | None:
        """Detect the largest face: its region's centre, side and angle."""
        height, width = picture.shape[:2]
        side = max(height, width)
        scale = DETECTOR_SIDE / side
        shift = np.array([side - width, side - height]) / 2
        to_input = np.array([[scale, 0, shift[0] * scale], [0, scale, shift[1] * scale]])
        small = cv2.resize(picture, (round(width * scale), round(height * scale)))
        square = cv2.warpAffine(small, to_input / [scale, scale, 1], (DETECTOR_SIDE, DETECTOR_SIDE))
        logits, boxes = self._detector.run(_to_rgb(square) / np.float32(127.5) - np.float32(1))
        scores = 1 / (1 + np.exp(-np.clip(logits.reshape(-1), -80, 80)))
        found = np.flatnonzero(scores >= MIN_SCORE)
        if not len(found):
            return None
        raw, anchors = boxes.reshape(-1, 16)[found] / DETECTOR_SIDE, self._anchors[found]
        best = int(np.argmax(raw[:, 2] * raw[:, 3]))
        centre = (raw[best, :2] + anchors[best]) * side - shift
        eyes = (raw[best, 4:8].reshape(2, 2) + anchors[best]) * side - shift
        return centre, REGION_SCALE * float(raw[best, 2:4].max()) * side, _angle(eyes)

    def _measure(self, picture: Array, region: tuple[Array, float, float]) -> Array | None:
        """Measure the (468, 2) points of the face in a region; None: there is none."""
        centre, side, angle = region
        scale = MESH_SIDE / max(side, 1.0)
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        linear = np.array([[cos, sin], [-sin, cos]])
        to_input = np.column_stack([linear, MESH_SIDE / 2 - linear @ centre])
        cut = cv2.warpAffine(picture, to_input, (MESH_SIDE, MESH_SIDE))
        logit, raw = self._mesh.run(_to_rgb(cut) / np.float32(255))
        if logit.reshape(-1)[0] < 0:
            return None
        back = cv2.invertAffineTransform(to_input)
        return raw.reshape(-1, 3)[:, :2] @ back[:, :2].T + back[:, 2]


class _Network:
    """A TFLite network on one thread."""

    def __init__(self, file: Path, outputs: tuple[str, ...]) -> None:
        self._interpreter: Any = Interpreter(model_path=str(file), num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        places = {each["name"]: each["index"] for each in self._interpreter.get_output_details()}
        self._outputs = [places[name] for name in outputs]

    def run(self, pixels: Array) -> list[Array]:
        self._interpreter.set_tensor(self._input, pixels[np.newaxis])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(place) for place in self._outputs]


def align(picture: Array, landmarks: Array) -> Array:
    """Cut the (112, 112, 3) RGB crop of a face by the least-squares similarity of five points."""
    centre, target = landmarks.mean(axis=0), TEMPLATE.mean(axis=0)
    (x, y), (u, v) = (landmarks - centre).T, (TEMPLATE - target).T
    size = float(x @ x + y @ y)
    cos, sin = float(x @ u + y @ v) / size, float(x @ v - y @ u) / size
    linear = np.array([[cos, -sin], [sin, cos]])
    matrix = np.column_stack([linear, target - linear @ centre])
    crop = cv2.warpAffine(picture, matrix, (CROP_SIDE, CROP_SIDE))
    return cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)


def _to_rgb(picture: Array) -> Array:
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.float32)


def _region_of_mesh(points: Array) -> tuple[Array, float, float]:
    """Make the level square around a mesh: centre, side and angle."""
    angle = _angle(points[[33, 263]])
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    level = points @ turn
    low, high = level.min(axis=0), level.max(axis=0)
    return turn @ ((low + high) / 2), REGION_SCALE * float((high - low).max()), angle


def _select_landmarks(points: Array) -> Array:
    eyes = points[[33, 133]].mean(axis=0), points[[362, 263]].mean(axis=0)
    return np.stack([*eyes, points[1], points[61], points[291]])


def _angle(eyes: Array) -> float:
    return float(np.arctan2(eyes[1, 1] - eyes[0, 1], eyes[1, 0] - eyes[0, 0]))


def _make_anchors() -> Array:
    """Make (896, 2) centres in [0, 1]: 2 anchors a cell of 8 pixels, 6 a cell of 16."""
    layers: list[Array] = []
    for cells, repeats in ((16, 2), (8, 6)):
        centres = (np.arange(cells) + 0.5) / cells
        grid = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
        layers.append(np.repeat(grid, repeats, axis=0))
    return np.concatenate(layers)
