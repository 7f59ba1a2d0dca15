"""Which face finder a clip gets."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2

from service.faces.appearance import warm_up
from service.faces.detections import FaceFinder
from service.faces.mesh_tracker import MeshTracker
from service.faces.yunet import YuNetFinder

DEFAULT_MAX_FACES: Final = 6
DEFAULT_MIN_FACE_PIXELS: Final = 20.0
"""Defaults of the settings `max_faces` and `min_face_pixels`."""


def open_face_finder(
    models_dir: Path,
    yunet_file: Path | None,
    *,
    max_faces: int = DEFAULT_MAX_FACES,
    min_pixels: float = DEFAULT_MIN_FACE_PIXELS,
) -> FaceFinder:
    """A finder for one clip: the operator's YuNet where one is set, else the mesh tracker.

    Args: max_faces: followed at a time, the largest; min_pixels: height of a face.

    OpenCV is held to the calling thread: clips run side by side, each on a thread of its own.

    Raises: FaceModelsMissing.
    """
    cv2.setNumThreads(1)
    warm_up()
    if yunet_file is not None:
        return YuNetFinder(yunet_file, min_pixels=min_pixels)
    return MeshTracker(models_dir, max_faces=max_faces, min_pixels=min_pixels)
